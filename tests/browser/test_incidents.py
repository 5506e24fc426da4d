"""An action fails for real: its incident comes by itself, and the person it is handed to takes it in hand on a
phone.
"""

import re

import pytest
from playwright.sync_api import Page, expect

from actions.models import Incident
from tests.browser.conftest import Site
from tests.support.processes import wait_for

pytestmark = pytest.mark.browser

WIDEST = """[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .slice(0, 8).map(e => e.tagName + "." + e.className)"""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_what_failed_is_handed_over_on_a_phone_and_by_keyboard(site: Site) -> None:
    parameters = {"host": "127.0.0.1", "port": 9}
    failed = site.propose("dev", type="rerun_healthcheck", parameters=parameters, title="Is the search service well?")
    site.reached(failed, "failed")
    wait_for(lambda: Incident.objects.filter(action=failed.pk).exclude(evidence="").exists(), 30, "its incident")
    incident = Incident.objects.get(action=failed.pk)

    phone = site.page("operator", width=390, height=844, scheme="dark")
    phone.goto(f"/actions/{failed.pk}/")
    phone.get_by_role("link", name="Open the incident").click()
    expect(phone).to_have_url(re.compile(f"/incidents/{incident.pk}/$"))
    expect(phone.get_by_role("heading", name="Next steps")).to_be_visible()
    site.picture(phone, "incidents-phone-dark", full_page=True)
    _fits(phone)
    phone.get_by_role("button", name="Acknowledge").click()
    expect(phone.get_by_text("Assigned to you", exact=False).first).to_be_visible()
    phone.goto("/incidents/")
    _fits(phone)
    expect(phone.locator("[data-row]")).to_have_count(1)
    site.picture(phone, "incidents-list-phone-dark")

    desk = site.page("operator")
    desk.goto("/")
    desk.locator("body").press("g")
    desk.locator("body").press("h")
    expect(desk).to_have_url(re.compile("/incidents/$"))
    site.picture(desk, "incidents-list")
    desk.get_by_role("link", name=re.compile("Is the search service well")).press("Enter")
    expect(desk.get_by_role("heading", name="Diagnostics")).to_be_visible()
    site.picture(desk, "incidents-incident", full_page=True)
    desk.locator("#verb-assign summary").press("Enter")
    desk.locator("#form-assign select").select_option(label="Approver")
    desk.locator("#form-assign button").press("Enter")
    expect(desk.get_by_text("Assigned to Approver, who", exact=False)).to_be_visible()
    desk.goto("/system/")
    site.picture(desk, "incidents-system", full_page=True)


def _fits(tab: Page) -> None:
    assert tab.evaluate(WIDE) <= 0, f"the page is wider than the phone: {tab.evaluate(WIDEST)}"
