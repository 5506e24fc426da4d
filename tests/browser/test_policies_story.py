"""A policy's life in a real browser: drafted, rehearsed, backtested, published by its own approval, at work, undone."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page

from actions.models import Action
from approvals.models import PolicyVersion
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser


def drafted_in(tab: Page) -> str:
    """Write the policy in the editor, and go on to its backtest; return the draft's id."""
    tab.goto("/policies/new/")
    tab.fill("[name=slug]", "no-new-notes")
    tab.fill("#expression", 'environment.name == "prod"\n  && plan.creates > 0')
    tab.wait_for_selector("#check-faults >> text=Valid")
    tab.locator("label:has([name=effect][value=deny])").click()
    tab.locator("label:has([name=mode][value=enforce])").click()
    tab.fill("[name=message]", "Notes belong in the wiki.")
    tab.click("span:text-is('Test')")
    tab.wait_for_url("**/policies/policy/*/evaluate/")
    found = re.search(r"/policy/([0-9a-f-]{36})/", tab.url)
    assert found is not None
    return found[1]


def approved_by_two(site: Site, action: Action, **more: Any) -> None:
    """Two people read every change and approve, each in their own browser."""
    for who in ("approver", "approver2"):
        tab = site.page(who, **more)
        tab.goto(f"/actions/{action.pk}/")
        tab.wait_for_selector("#decide-form")
        while tab.locator("[data-next-unviewed]:visible").count():
            tab.click("[data-next-unviewed]")
            tab.keyboard.press("v")
        tab.click("[data-approve]")
        if tab.locator("#confirm[open]").count():
            tab.click("#confirm .btn--approve")
        tab.wait_for_selector("text=You approved")
        tab.context.close()


def test_a_policy_is_drafted_rehearsed_backtested_published_stops_an_action_and_is_rolled_back(site: Site) -> None:
    earlier = site.reached(site.propose("prod", title="An earlier note"), "awaiting_approval")
    tab = site.page("admin")
    draft = drafted_in(tab)
    tab.click("text=An earlier note")
    tab.wait_for_selector("text=Notes belong in the wiki.")  # it would be denied
    site.picture(tab, "story-rehearsed", full_page=True)

    tab.goto(f"/policies/policy/{draft}/propose/")
    tab.select_option("[name=environment]", "prod")
    tab.fill("[name=reason]", "The wiki is searched, notes are not.")
    tab.click("button:has-text('Propose')")
    tab.wait_for_selector("text=Not backtested yet")  # first things first
    assert not Action.objects.filter(type="config_change").exists()
    tab.goto(f"/policies/policy/{draft}/backtest/")
    tab.click("button:has-text('Start')")
    tab.wait_for_selector("text=Backtested with exactly this text.", timeout=40_000)
    site.picture(tab, "story-backtested", full_page=True)
    tab.goto(f"/policies/drafts/{draft}/")
    tab.wait_for_selector("text=1 changed outcome")

    tab.click("button:has-text('Propose')")
    tab.wait_for_url("**/propose/")
    tab.select_option("[name=environment]", "prod")
    tab.fill("[name=reason]", "The wiki is searched, notes are not.")
    tab.click("button:has-text('Propose')")
    tab.wait_for_url("**/actions/*/")
    change = site.reached(Action.objects.get(type="config_change"), "awaiting_approval")
    approved_by_two(site, change)
    site.reached(change, "completed")
    assert PolicyVersion.objects.get(pk=draft).state == "published"

    stopped = site.reached(site.propose("prod", title="A late note"), "denied")
    theirs = site.page("operator")
    theirs.goto(f"/actions/{stopped.pk}/explain/")
    theirs.wait_for_selector("text=Denied by policy no-new-notes v1: Notes belong in the wiki.")
    site.picture(theirs, "story-why", full_page=True)
    assert Action.objects.get(pk=earlier.pk).state == "awaiting_approval"  # judged again only at its start

    tab.goto(f"/actions/{change.pk}/")
    tab.click("summary:has-text('Roll back')")
    tab.fill("#form-rollback [name=reason]", "Too strict.")
    tab.click("#form-rollback button")
    tab.wait_for_url(lambda url: str(change.pk) not in url)
    undo = site.reached(Action.objects.get(undo_of=change), "awaiting_approval")
    approved_by_two(site, undo)
    site.reached(undo, "completed")
    tab.goto(f"/policies/{PolicyVersion.objects.get(pk=draft).policy_id}/")
    tab.wait_for_selector("text=took version 1 out of force")
    assert PolicyVersion.objects.get(pk=draft).state == "retired"
    site.reached(site.propose("prod", title="A note at last"), "awaiting_approval")
