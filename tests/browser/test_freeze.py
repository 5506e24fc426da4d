"""The switch of an environment on a phone: two presses hold it, what waits says so, two presses release it."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site
from tests.browser.test_phone import _fits

pytestmark = pytest.mark.browser


def test_an_operator_holds_and_releases_an_environment_on_a_phone(site: Site) -> None:
    tab = site.page("operator", width=390, height=844, scheme="dark")
    tab.goto("/system/")
    _fits(tab)
    tab.get_by_role("link", name="dev", exact=True).click()
    _fits(tab)
    press = tab.get_by_role("button", name="Freeze now")
    expect(press).not_to_be_visible()
    tab.get_by_text("Freeze dev …").click()
    tab.get_by_label("Reason").fill("The disk is failing; " * 12)
    site.picture(tab, "switch-armed", full_page=True)
    press.click()
    expect(tab.get_by_text("dev is frozen by").first).to_be_visible()
    _fits(tab)
    site.picture(tab, "switch-set", full_page=True)

    action = site.reached(site.propose("dev", accept=True), "approved")
    tab.goto("/?tab=all")
    expect(tab.locator("#holds")).to_contain_text("dev is frozen")
    expect(tab.locator(f"#row-{action.pk}")).to_contain_text("waiting: dev is frozen")
    _fits(tab)
    site.picture(tab, "switch-queue", full_page=True)
    tab.goto(f"/actions/{action.pk}/")
    expect(tab.locator("#notices")).to_contain_text("The disk is failing")
    _fits(tab)

    tab.locator("#notices").get_by_role("link", name="Open dev").click()
    tab.get_by_text("Unfreeze dev …").click()
    tab.get_by_label("Reason").fill("A new disk is in.")
    tab.get_by_role("button", name="Unfreeze now").click()
    expect(tab.get_by_text("not frozen: actions start and run")).to_be_visible()
    site.reached(action, "completed")
    assert not site.complaints
