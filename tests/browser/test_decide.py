"""A real change, from the form to the finished run, by the right people, in a real browser."""

from pathlib import Path

import pytest

from actions.models import Action
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser


def test_a_change_is_proposed_approved_by_two_and_runs_while_the_page_watches(site: Site) -> None:
    root = Path(site.cast.prod.root)
    (root / "app.yaml").write_text("replicas: 2\n")
    tab = site.page("operator")
    tab.goto("/actions/new/")
    tab.select_option("[name=environment]", "prod")
    tab.fill('[name="parameters.changes.0.path"]', "app.yaml")
    tab.locator('label:has([value="modify"])').click()
    tab.fill('[name="parameters.changes.0.content"]', "replicas: 3\n")
    tab.fill("[name=reason]", "Load test on Thursday.")
    tab.click("button.btn:has-text('Dry run')")
    tab.wait_for_selector("#preview .d-add mark")
    site.picture(tab, "new-preview")
    tab.click("button:has-text('Propose')")
    tab.wait_for_url("**/actions/*-*/")
    tab.wait_for_selector("text=Awaiting approval")  # by itself: queued, preflight, then the plan arrives
    tab.wait_for_selector("#changes .d-del")
    assert tab.locator("#decide-form").count() == 0
    action = Action.objects.get()

    for who, last in (("approver", False), ("approver2", True)):
        theirs = site.page(who)
        theirs.goto("/")
        theirs.click(".row__title")
        theirs.wait_for_url(f"**/actions/{action.pk}/")
        theirs.fill("#decide-form textarea", f"checked by {who}")
        if action.tier in ("high", "critical") or theirs.locator("[data-next-unviewed]:visible").count():
            theirs.click("[data-viewed]")
        theirs.click("[data-approve]")
        if theirs.locator("#confirm[open]").count():
            theirs.click("#confirm .btn--approve")
        theirs.wait_for_selector("text=You approved")
        if last:
            site.picture(theirs, "approved")

    tab.wait_for_selector("text=Completed")  # the requester's page, never reloaded
    assert (root / "app.yaml").read_text() == "replicas: 3\n"
    tab.goto(f"/actions/{action.pk}/run/")
    tab.wait_for_selector("text=app.yaml: written")
    site.picture(tab, "run-completed")


def test_what_is_typed_survives_what_others_do_meanwhile(site: Site) -> None:
    action = site.reached(site.propose("prod"), "awaiting_approval")
    tab = site.page("approver")
    tab.goto(f"/actions/{action.pk}/")
    tab.locator("#conn[data-state=live]").wait_for()
    tab.fill("#decide-form textarea", "half a sen")
    tab.locator("label:has([name=decision][value=reject])").click()
    tab.focus("#decide-form textarea")
    site.approve(action, "approver2", "me first")
    tab.wait_for_selector("text=me first")  # morphed in, not reloaded
    assert tab.input_value("#decide-form textarea") == "half a sen"
    assert tab.is_checked("[name=decision][value=reject]")
    assert tab.evaluate("document.activeElement.name") == "comment"


def test_a_stale_page_is_refused_in_place_and_keeps_the_comment(site: Site) -> None:
    action = site.reached(site.propose("prod"), "awaiting_approval")
    tab = site.page("approver")
    tab.goto(f"/actions/{action.pk}/")
    tab.fill("#decide-form textarea", "typed with care")
    tab.evaluate("document.querySelector('#decide-form [name=digest]').value = '0'.repeat(64)")
    if tab.locator("[data-next-unviewed]:visible").count():
        tab.click("[data-viewed]")
    tab.click("[data-approve]")
    if tab.locator("#confirm[open]").count():
        tab.click("#confirm .btn--approve")
    tab.wait_for_selector("#decide-problem >> text=The plan changed.")
    assert tab.input_value("#decide-form textarea") == "typed with care"
    site.picture(tab, "stale")
    assert Action.objects.get(pk=action.pk).state == "awaiting_approval"
    tab.click("text=Show the current state")
    tab.wait_for_selector("#decide-problem", state="attached")
    assert tab.input_value("#decide-form textarea") == "typed with care"  # also after the page was loaded anew
    tab.click("[data-approve]")
    tab.wait_for_selector("text=You approved")
    assert tab.evaluate("sessionStorage.length") == 0


def test_high_risk_opens_for_approval_once_every_change_was_viewed(site: Site) -> None:
    changes = [{"path": f"f{n}.txt", "operation": "create", "content": "x\n"} for n in range(3)]
    action = site.reached(
        site.propose("prod", parameters={"changes": changes}, security_level="critical"), "awaiting_approval"
    )
    tab = site.page("approver")
    tab.goto(f"/actions/{action.pk}/")
    tab.wait_for_selector("text=View 3 more changes to approve")
    assert not tab.is_visible("[data-approve]")
    for _ in range(3):
        tab.click("[data-next-unviewed]")
        tab.keyboard.press("v")
    assert tab.is_visible("[data-approve]")
    tab.click("[data-approve]")
    tab.wait_for_selector("#confirm[open]")
    site.picture(tab, "confirm")
    tab.reload()
    assert tab.locator("[data-viewed]:checked").count() == 3  # remembered for this plan
    tab.click("[data-approve]")
    tab.click("#confirm .btn--approve")
    tab.wait_for_selector("text=You approved")


def test_on_a_phone_the_decision_is_a_sheet(site: Site) -> None:
    action = site.reached(site.propose("prod", title="From the train"), "awaiting_approval")
    tab = site.page("approver", width=390, height=844)
    tab.goto(f"/actions/{action.pk}/")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not tab.is_visible("#decide-form")
    tab.click("[data-sheet]")
    tab.wait_for_selector("#decide-form:visible")
    site.picture(tab, "phone-sheet")
    tab.locator("label:has([name=decision][value=reject])").click()
    tab.fill("#decide-form textarea", "not from a train")
    tab.click("[data-approve]")
    tab.wait_for_selector("text=You rejected")
    assert Action.objects.get(pk=action.pk).state == "rejected"
