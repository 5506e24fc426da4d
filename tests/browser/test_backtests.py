"""A draft tried in a real browser: on one action, and on all, with the progress under one's eyes."""

import pytest
from playwright.sync_api import Page

from actions.models import Action, Backtest
from tests.backtests.factory import judged_actions
from tests.browser.conftest import Site
from tests.policies.factory import drafted

pytestmark = pytest.mark.browser


def fits(tab: Page) -> bool:
    return bool(tab.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_draft_is_rehearsed_backtested_and_proposed(site: Site) -> None:
    judged_actions(site.cast, 900)
    version = drafted(site.cast.acme, expression="plan.deletes > 0 && environment.name == 'prod'")
    tab = site.page("admin")
    tab.goto(f"/policies/policy/{version.pk}/evaluate/")
    site.picture(tab, "rehearse-choose")
    tab.locator(".pick").first.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#backtest-one >> text=With the draft")
    action = next(
        a
        for a in Action.objects.select_related("plan", "environment").exclude(type="config_change")
        if a.plan.facts["plan"]["deletes"] and a.environment.slug == "prod" and a.plan.verdict["outcome"] != "deny"
    )
    tab.goto(f"/policies/policy/{version.pk}/evaluate/?action={action.pk}")
    tab.wait_for_selector("#backtest-one >> text=It would be denied")
    site.picture(tab, "rehearse", full_page=True)
    tab.click("nav >> text=Backtest")
    tab.wait_for_selector("text=Not backtested yet")
    site.picture(tab, "backtest-none")
    tab.click("button:has-text('Start')")
    tab.wait_for_selector("#backtest progress")
    site.picture(tab, "backtest-under-way")
    tab.wait_for_selector("text=Backtested with exactly this text", timeout=60_000)
    made = Backtest.objects.get()
    assert (made.state, made.done) == ("finished", 900)
    tab.wait_for_selector(f"#differences >> text=The draft {made.otherwise}")
    assert tab.locator("#backtest[hx-trigger]").count() == 0
    site.picture(tab, "backtest", full_page=True)
    first, last = (tab.locator(".btlist .list__main > a").nth(n).get_attribute("href") for n in (0, 98))
    tab.click("a[rel=next]")
    assert tab.locator(".btlist .list__main > a").first.get_attribute("href") not in (first, last)
    tab.click("#backtest >> a:has-text('Propose')")
    tab.wait_for_selector("text=changed outcome")
    tab.fill("[name=reason]", "It happened twice.")
    site.picture(tab, "propose-tested")
    tab.click("button:has-text('Propose')")
    tab.wait_for_url("**/actions/*/")


def test_on_a_phone_and_in_the_dark_nothing_is_cut_off(site: Site) -> None:
    judged_actions(site.cast, 60)
    version = drafted(site.cast.acme, expression="plan.deletes > 0")
    tab = site.page("admin", width=390, height=844, scheme="dark")
    tab.goto(f"/policies/policy/{version.pk}/backtest/")
    tab.click("button:has-text('Start')")
    tab.wait_for_selector("text=Backtested with exactly this text", timeout=60_000)
    assert fits(tab)
    site.picture(tab, "backtest-390", full_page=True)
    tab.locator(".btlist__try").first.click()
    tab.wait_for_selector("#backtest-one >> text=With the draft")
    assert fits(tab)
    site.picture(tab, "rehearse-390", full_page=True)
