"""An approver on the way: a mail on the phone, its link, signing in, the changes, the decision."""

import email
import json
import re
from collections.abc import Iterator
from email import policy
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from actions.models import Action
from approvals.models import Decision
from audit.models import Event
from tenants.models import Principal
from tests.browser import conftest as product
from tests.browser.conftest import Site
from tests.browser.test_account import PASSWORD
from tests.support import processes
from tests.support.mailbox import Smtp, running
from tests.support.processes import wait_for

pytestmark = pytest.mark.browser


@pytest.fixture
def mailbox() -> Iterator[Smtp]:
    with running(Smtp()) as server:
        yield server


@pytest.fixture
def product_environment(
    product_environment: dict[str, str], mailbox: Smtp, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The product's processes send mail to the mailbox, with links to the server of this test."""
    port = processes.free_port()
    monkeypatch.setattr(product, "free_port", lambda: port)
    mail = f"smtp://127.0.0.1:{mailbox.server_address[1]}"
    base = f"http://127.0.0.1:{port}"
    return {**product_environment, "INTERLOCK_EMAIL_URL": mail, "INTERLOCK_PUBLIC_URL": base}


def test_an_approver_decides_on_a_phone_from_the_mail_that_asks_them(site: Site, mailbox: Smtp) -> None:
    site.do(_reachable, site.cast.approver, site.cast.approver2)
    changes = [{"path": f"{n}/a-rather-long-name-of-a-file.yaml", "operation": "create", "content": WIDE} for n in "ab"]
    proposed = site.propose(
        "prod", title="Give payments more time before they are given up", parameters={"changes": changes}
    )
    action = site.reached(proposed, "awaiting_approval")
    wait_for(lambda: len(mailbox.messages) >= 2, 40, "a mail to each approver")
    link = _link_in(_mail_to("approver@example.test", mailbox))
    assert link == f"{site.base}/actions/{action.pk}/#decide"

    tab = _phone(site)
    tab.goto(link)
    expect(tab.get_by_role("heading", name="Sign in")).to_be_visible()
    _fits(tab)
    site.picture(tab, "phone-sign-in")
    tab.get_by_label("Username").fill(site.cast.approver.username)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    expect(tab).to_have_url(re.compile(f"/actions/{action.pk}/(#decide)?$"))
    _fits(tab)
    site.picture(tab, "phone-review", full_page=True)

    _look_at_every_change(tab)
    site.picture(tab, "phone-changes")
    tab.locator("#actionbar").get_by_role("button").click()
    tab.locator("#decide-form").wait_for()
    site.picture(tab, "phone-decide")
    tab.click("[data-approve]")
    if tab.locator("#confirm[open]").count():
        _fits(tab)
        site.picture(tab, "phone-confirm")
        tab.click("#confirm .btn--approve")
    expect(tab.get_by_text("You approved").first).to_be_visible()
    _fits(tab)
    site.picture(tab, "phone-approved", full_page=True)

    assert not tab.locator("#actionbar").is_visible()
    made = Decision.objects.get()
    assert (made.principal_id, made.approved, made.role) == (site.cast.approver.pk, True, "approver")
    assert Action.objects.get(pk=action.pk).state == "awaiting_approval"  # the second required approval is still empty
    granted = Event.objects.get(subject_id=action.pk, verb="approval.granted")
    seen = json.loads(bytes(granted.body))["facts"]["plan_view"]
    assert (seen["changes_opened"], seen["changes_total"]) == (2, 2) and seen["shown_at"]
    assert not site.complaints


def test_on_a_phone_neither_rows_nor_a_split_diff_run_over(site: Site) -> None:
    """The window may be as narrow without saying that it is a phone: then it gets the diff in two columns."""
    changes = [{"path": "a.yaml", "operation": "create", "content": WIDE}]
    for environment in ("staging", "prod"):
        made = site.propose(environment, title=f"For {environment}", parameters={"changes": changes})
        action = site.reached(made, "awaiting_approval")
    tab = site.page("approver", width=390, height=844, scheme="dark")
    for address in ("/approvals/", "/"):
        tab.goto(address)
        tab.locator(".row").nth(1).wait_for()
        _fits(tab)
        for row in tab.locator(".row").all():
            ends = [_sides(row.locator(part)) for part in (".env", ".risk", ".slots", ".row__time")]
            assert all(left[1] < right[0] for left, right in pairwise(ends)), ends
        site.picture(tab, f"phone-rows{address.replace('/', '-')}")
    tab.goto(f"/actions/{action.pk}/")
    tab.locator(".diff--split").wait_for()
    _fits(tab)


PHONE = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
WIDE = "timeout_seconds: 30  # " + "long enough to be wider than any phone, " * 4 + "\n"
TOO_WIDE = """[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > 391)
    .map(e => `${e.tagName}.${e.className} ${Math.round(e.getBoundingClientRect().right)}`).slice(0, 20)"""


def _phone(site: Site) -> Page:
    """A dark phone in which nobody is signed in."""
    context = site.browser.new_context(
        viewport={"width": 390, "height": 844},
        is_mobile=True,
        has_touch=True,
        color_scheme="dark",
        reduced_motion="reduce",
        device_scale_factor=2,
        user_agent=PHONE,
    )
    tab = context.new_page()
    tab.set_default_timeout(15_000)
    tab.on("console", lambda m: site.complaints.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda e: site.complaints.append(str(e)))
    return tab


def _look_at_every_change(tab: Page) -> None:
    marks = tab.locator("[data-viewed]")
    for n in range(marks.count()):
        marks.nth(n).scroll_into_view_if_needed()
        marks.nth(n).click()
    _fits(tab)


def _sides(part: Locator) -> tuple[float, float]:
    box = part.first.bounding_box()
    assert box is not None
    return box["x"], box["x"] + box["width"]


def _fits(tab: Page) -> None:
    """Nothing is wider than the phone. One that is mobile widens its viewport instead, so the width itself is asked."""
    wide = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1] == 390, f"{tab.url} scrolls sideways: {wide}, {tab.evaluate(TOO_WIDE)}"


def _reachable(*people: Principal) -> None:
    for person in people:
        person.email = f"{person.username}@example.test"
        person.set_password(PASSWORD)
        person.save()


def _mail_to(address: str, mailbox: Smtp) -> Any:
    read = [email.message_from_string(text, policy=policy.default) for text in mailbox.messages]
    return next(mail for mail in read if mail["To"] == address)


def _link_in(mail: Any) -> str:
    assert "awaits your decision" in mail["Subject"]
    found = re.search(r"http://\S+", mail.get_content())
    assert found is not None
    return found[0]
