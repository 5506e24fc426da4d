"""The rules in a real browser: drafted with a live check, kept when something goes wrong, seen at work."""

import pytest
from playwright.sync_api import Page

from approvals.models import MatrixDraft, PolicyVersion
from approvals.policies import drafts
from approvals.policies.policy_text import PolicyText
from tests.browser.conftest import Site
from tests.policies.factory import published

pytestmark = pytest.mark.browser


def fits(tab: Page) -> bool:
    return bool(tab.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_policy_is_written_with_a_live_check_saved_and_proposed(site: Site) -> None:
    tab = site.page("admin")
    tab.goto("/policies/")
    site.picture(tab, "policies-empty")
    tab.click("text=New empty policy")
    tab.fill("[name=slug]", "no-notes")
    tab.locator("#expression").press_sequentially('environment.name == "prod"\n  && plan.deleets > 0')
    tab.wait_for_selector("#check-faults >> text=Line 2, column 10 ")
    assert tab.locator("[data-lines]").inner_text().split() == ["1", "2"]
    site.picture(tab, "rules-fault", full_page=True)
    tab.fill("#expression", "")
    tab.fill("[data-fact-search]", "creat")
    assert tab.locator("[data-fact]:visible").count() == 1
    tab.click("[data-insert='plan.creates']")
    tab.keyboard.type(" > 0")
    tab.wait_for_selector("#check-faults >> text=Valid")
    assert tab.input_value("#expression") == "plan.creates > 0"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") != "expression"  # the keyboard is not caught in it
    tab.locator("label:has([name=effect][value=require])").click()
    tab.fill("[name='approval:security']", "1")
    tab.wait_for_selector("#check-preview >> text=would have required 1 × security in addition")
    tab.click("text=Save draft")
    tab.wait_for_selector("#policy-problem >> text=1 error")  # no message yet
    assert tab.input_value("#expression") == "plan.creates > 0" and tab.input_value("[name='approval:security']") == "1"
    tab.fill("[name=message]", "New things need a second look.")
    site.picture(tab, "rules-editor", full_page=True)
    tab.click("text=Save draft")
    tab.wait_for_url("**/policies/drafts/*/")
    tab.fill("[name=message]", "New things need another look.")
    tab.click("button:has-text('Propose')")
    tab.wait_for_url("**/policies/policy/*/propose/")
    made = PolicyVersion.objects.get()
    assert (made.message, made.state, made.mode) == ("New things need another look.", "draft", "shadow")


def test_an_edit_meets_another_and_nothing_is_lost(site: Site) -> None:
    said = PolicyText("plan.deletes > 0", "deny", "First.")
    draft = drafts.draft_policy(site.cast.acme, "no-deletes", said, by=site.cast.access("admin"))
    tab = site.page("admin")
    tab.goto(f"/policies/drafts/{draft.pk}/")
    tab.fill("[name=message]", "Mine, written with care.")
    drafts.edit_policy_draft(draft.pk, PolicyText("plan.deletes > 1", "deny", "Theirs."), by=site.cast.access("admin"))
    tab.click("text=Save draft")
    tab.wait_for_selector("#draft-moved")
    assert tab.input_value("[name=message]") == "Mine, written with care."
    site.picture(tab, "rules-moved", full_page=True)
    tab.click("text=Save draft")
    tab.wait_for_selector("text=is saved as a draft")
    draft.refresh_from_db()
    assert draft.message == "Mine, written with care."
    tab.click("text=Abandon this draft")
    tab.wait_for_selector("#abandon[open]")
    tab.click("#abandon >> text=Keep draft")
    tab.click("text=Abandon this draft")
    tab.click("#abandon >> text=Abandon draft")
    tab.wait_for_selector("text=was abandoned")
    draft.refresh_from_db()
    assert draft.state == "abandoned"


def test_the_matrix_is_drafted_and_reads_on_a_phone(site: Site) -> None:
    tab = site.page("admin")
    tab.goto("/policies/matrix/")
    site.picture(tab, "matrix", full_page=True)
    tab.click("[aria-label='Draft a change for prod']")
    tab.locator("fieldset.tier:has([name=low]) label:has-text('No approval')").click()
    tab.locator("fieldset.tier:has([name=critical]) label:has-text('Denied')").click()
    assert not tab.is_visible("[name='critical:approver']") and tab.is_visible("[name='high:approver']")
    tab.fill("[name='high:security']", "1")
    tab.click("text=Save draft")
    tab.wait_for_url("**/policies/matrix/drafts/*/")
    site.picture(tab, "matrix-draft", full_page=True)
    high = [{"role": "approver", "count": 2}, {"role": "security", "count": 1}]
    rows = MatrixDraft.objects.get().rows
    assert (rows["low"], rows["high"], "critical" in rows) == ([], high, False)
    phone = site.page("operator", width=390, height=844)
    for address in ("/policies/matrix/", "/policies/"):
        phone.goto(address)
        assert fits(phone)
    phone.goto("/policies/matrix/")
    site.picture(phone, "matrix-phone", full_page=True)


def test_a_denied_action_says_which_policy_and_leads_to_it(site: Site) -> None:
    published(site.cast.acme, "no-notes", expression="plan.creates > 0", message="Notes belong elsewhere.")
    published(site.cast.acme, "tried-out", expression="plan.creates > 0", mode="shadow", message="Only tried.")
    action = site.reached(site.propose("prod"), "denied")
    tab = site.page("operator")
    tab.goto(f"/actions/{action.pk}/")
    tab.click("text=Explain")
    tab.wait_for_selector("#why-sentence >> text=Denied by policy no-notes v1: Notes belong elsewhere.")
    assert tab.locator("#why-policies >> text=It would have denied the action").count() == 1
    site.picture(tab, "why-denied", full_page=True)
    phone = site.page("operator", width=390, height=844, scheme="dark")
    phone.goto(f"/actions/{action.pk}/explain/")
    phone.click("#why-facts summary")
    assert fits(phone)
    site.picture(phone, "why-phone-dark", full_page=True)
    tab.click("#why-policies >> text=no-notes v1")
    tab.wait_for_selector("h1:has-text('no-notes')")
