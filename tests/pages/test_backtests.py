"""Rehearsal and backtest in the browser: what the pages say in each state, and who is let in."""

import re

import pytest
from django.utils import timezone

from actions.backtests import start
from actions.models import Action, Backtest
from approvals.policies.drafts import draft_matrix, edit_policy_draft
from tests.actions.factory import an_action, with_rules
from tests.backtests.factory import judged_actions, worked_off
from tests.policies.factory import SETUP, TWO, drafted, policy_text, published

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(cast):
    with_rules(cast)
    cast.judged = judged_actions(cast, 40)
    return cast.client("admin")


def text(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def an_ordinary(**plan) -> Action:
    found = Action.objects.select_related("plan").exclude(type="config_change").order_by("pk")
    return next(a for a in found if all(a.plan.facts["plan"][k] == v for k, v in plan.items()))


def test_an_action_is_chosen_and_shown_by_both_rules(cast, admin):
    version = drafted(cast.acme)
    address = f"/policies/policy/{version.pk}/evaluate/"
    page = admin.get(address)
    assert page.status_code == 200 and page.content.decode().count('class="pick"') == 12
    action = an_ordinary(deletes=4)
    page = admin.get(address, {"action": str(action.pk)})
    said = text(page)
    assert page.status_code == 200
    assert "It would be denied" in said and "With the draft" in said and "Today's rules" in said.replace("&#x27;", "'")
    assert "plan.deletes" in said and "how many resources it deletes" in said
    assert "with the draft only" in said
    harmless = admin.get(address, {"action": str(an_ordinary(deletes=0).pk)})
    assert "Same outcome with the draft" in text(harmless)


def test_actions_are_found_by_title_type_and_id(cast, admin):
    address = f"/policies/policy/{drafted(cast.acme).pk}/evaluate/"
    wanted = cast.judged[7]
    Action.objects.filter(pk=wanted.pk).update(title="Restart <b>payments</b>")
    for asked in ("payments", str(wanted.pk)):
        page = admin.get(address, {"q": asked}).content.decode()
        assert page.count('class="pick"') == 1 and "Restart &lt;b&gt;payments" in page
    assert "No match" in text(admin.get(address, {"q": "no such thing"}))
    assert admin.get(address, {"q": "a\x00b"}).status_code == 422


def test_an_error_is_shown_where_the_policy_came_to_it(cast, admin):
    version = drafted(cast.acme, expression="1 / plan.lossy > 0")
    page = admin.get(f"/policies/policy/{version.pk}/evaluate/", {"action": str(an_ordinary().pk)})
    assert "divide by zero" in text(page) and "Denied" in text(page)


def test_a_retirement_and_a_matrix_have_the_pages_too(cast, admin):
    version, draft = published(cast.acme), draft_matrix(cast.dev, {"low": TWO}, by=SETUP)
    action = next(a for a in cast.judged if a.environment_id == cast.dev.pk)
    for kind, pk in (("retire", version.pk), ("matrix", draft.pk)):
        page = admin.get(f"/policies/{kind}/{pk}/evaluate/", {"action": str(action.pk)})
        assert page.status_code == 200 and "Actual outcome" in text(page)
        assert admin.get(f"/policies/{kind}/{pk}/backtest/").status_code == 200
    choices = admin.get(f"/policies/matrix/{draft.pk}/evaluate/").content.decode()
    elsewhere = [a for a in cast.judged if a.environment_id != cast.dev.pk]
    assert not any(str(a.pk) in choices for a in elsewhere)


def test_what_cannot_be_rehearsed_is_explained(cast, admin):
    version = published(cast.acme)
    assert "only what" not in text(admin.get(f"/policies/retire/{version.pk}/evaluate/"))
    page = admin.get(f"/policies/policy/{version.pk}/evaluate/")
    assert page.status_code == 409 and "draft the next version" in text(page)
    other, unplanned = drafted(cast.acme, "other"), an_action(cast)
    page = admin.get(f"/policies/policy/{other.pk}/evaluate/", {"action": str(unplanned.pk)})
    assert page.status_code == 409 and "no evaluated plan" in text(page)
    theirs = an_action(cast, tenant=cast.globex, environment=cast.globex_prod)
    for unknown in (theirs.pk, "nonsense"):
        assert admin.get(f"/policies/policy/{other.pk}/evaluate/", {"action": str(unknown)}).status_code == 404


def test_a_backtest_from_start_to_its_differences(cast, admin):
    version = drafted(cast.acme, expression="plan.deletes > 0")
    address = f"/policies/policy/{version.pk}/backtest/"
    page = text(admin.get(address))
    assert "Not backtested yet" in page and "Start" in page
    today = timezone.now().date()
    sent = admin.post(address, {"since": "2026-01-01", "until": today.isoformat()})
    assert (sent.status_code, sent["Location"]) == (302, address)
    page = admin.get(address).content.decode()
    assert 'hx-trigger="every 1s"' in page and "<progress" in page and "Cancel" in page and "Start" not in page
    worked_off()
    page = admin.get(f"{address}live/").content.decode()
    assert "hx-trigger" not in page and "<html" not in page
    made = Backtest.objects.get()
    said = text(admin.get(address))
    assert "Backtested with exactly this text" in said and "backtest is valid for" in said
    assert f"The draft {made.otherwise}" in said and "would be denied" in said
    for row in made.differences.filter(because="draft"):
        assert f"/actions/{row.action_id}/" in admin.get(address).content.decode()


def test_differences_are_paged_and_filtered(cast, admin, monkeypatch):
    monkeypatch.setattr("actions.pages.policies.draft.PER_PAGE", 5)
    version = drafted(cast.acme, expression="true")
    start.start_backtest(cast.access("admin"), "policy", version.pk)
    worked_off()
    address, seen, query = f"/policies/policy/{version.pk}/backtest/", set(), ""
    while query is not None:
        page = admin.get(address + query).content.decode()
        rows = set(re.findall(r'list__main"><a href="/actions/([0-9a-f-]{36})/', page))
        assert rows and not rows & seen
        seen |= rows
        found = re.search(r'rel="next" href="[^"?]*(\?[^"#]*)', page)
        query = found[1].replace("&amp;", "&") if found else None
    assert len(seen) == Backtest.objects.get().otherwise
    assert "No more" in text(admin.get(f"{address}?kind=accepted"))
    assert admin.get(f"{address}?after=x&because=else&kind=none").status_code == 200


def test_nothing_otherwise_and_no_actions_are_told_apart(cast, admin):
    version = drafted(cast.acme, expression="false")
    address = f"/policies/policy/{version.pk}/backtest/"
    start.start_backtest(cast.access("admin"), "policy", version.pk)
    worked_off()
    assert "No changed outcomes" in text(admin.get(address))
    sent = admin.post(address, {"since": "2001-01-01", "until": "2001-02-01"})
    assert sent.status_code == 302
    worked_off()
    assert "No evaluated actions in this period" in text(admin.get(address))


def test_an_edit_makes_it_stale_and_a_cancelled_one_says_so(cast, admin):
    version = drafted(cast.acme)
    address = f"/policies/policy/{version.pk}/backtest/"
    start.start_backtest(cast.access("admin"), "policy", version.pk)
    worked_off()
    edit_policy_draft(version.pk, policy_text(effect="warn"), by=SETUP)
    said = text(admin.get(address))
    assert "The draft changed since its backtest" in said and "of an earlier text" in said
    assert "The draft changed since" in text(admin.get(f"/policies/policy/{version.pk}/propose/"))
    start.start_backtest(cast.access("admin"), "policy", version.pk)
    sent = admin.post(f"{address}cancel/")
    assert sent.status_code == 302 and Backtest.objects.order_by("-pk")[0].state == "cancelled"
    assert "The backtest was cancelled" in text(admin.get(address))
    assert admin.post(f"{address}cancel/").status_code == 302


@pytest.mark.parametrize(
    ("since", "until"),
    [("2026-03-01", "2026-02-01"), ("", "2026-02-01"), ("soon", "2026-01-01"), ("2026-01-01", "9999-12-31")],
)
def test_a_period_that_is_none_is_refused_beside_its_field(cast, admin, since, until):
    version = drafted(cast.acme)
    page = admin.post(f"/policies/policy/{version.pk}/backtest/", {"since": since, "until": until})
    assert page.status_code == 422 and 'class="err"' in page.content.decode()
    assert not Backtest.objects.exists()


@pytest.mark.parametrize("name", ["operator", "approver", "auditor", "outsider"])
def test_nobody_else_is_let_in(cast, admin, name):
    version, client = drafted(cast.acme), cast.client(name)
    made = start.start_backtest(cast.access("admin"), "policy", version.pk)
    wanted = 404 if name == "outsider" else 403
    for part in ("evaluate/", "backtest/", "backtest/live/"):
        assert client.get(f"/policies/policy/{version.pk}/{part}").status_code == wanted
    period = {"since": "2026-01-01", "until": "2026-02-01"}
    assert client.post(f"/policies/policy/{version.pk}/backtest/", period).status_code == wanted
    assert client.post(f"/policies/policy/{version.pk}/backtest/cancel/").status_code == wanted
    made.refresh_from_db()
    assert made.state == "queued" and Backtest.objects.count() == 1
