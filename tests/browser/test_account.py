"""Signing in, API tokens and the admin, as a person does it."""

import re

import pytest
from playwright.sync_api import Page, expect

from tenants.authentication.tokens import authenticate
from tenants.models import Principal
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser

PASSWORD = "a long enough pass phrase"


def test_a_person_signs_in_makes_a_token_and_signs_out(site: Site) -> None:
    site.do(_give_password, site.cast.operator)
    tab = _stranger(site)
    tab.goto("/account/tokens/")
    tab.get_by_label("Username").fill("operator")
    tab.get_by_label("Password").fill("wrong")
    site.picture(tab, "sign-in")
    tab.get_by_role("button", name="Sign in").click()
    expect(tab.get_by_role("alert")).to_contain_text("incorrect")
    site.picture(tab, "sign-in-refused")
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    expect(tab).to_have_url(re.compile("/account/tokens/$"))
    tab.get_by_label("Purpose").fill("my laptop")
    tab.get_by_label("propose").check()
    tab.get_by_role("button", name="Create token").click()
    plain = tab.locator("#token-plain").inner_text()
    assert site.do(authenticate, plain).scopes == ["propose"]
    site.picture(tab, "tokens")
    tab.get_by_role("button", name="Revoke my laptop").click()
    expect(tab.locator("#token-list")).to_contain_text("revoked")
    assert site.do(authenticate, plain) is None
    assert not site.complaints


def test_an_admin_adds_a_member_and_gets_the_link_for_their_password(site: Site) -> None:
    tab = site.page("admin")
    tab.goto("/admin/tenants/principal/add/")
    tab.get_by_label("Username").fill("dana")
    tab.get_by_label("Acme: approver").check()
    site.picture(tab, "admin-member")
    tab.get_by_role("button", name="Save", exact=True).click()
    tab.get_by_role("row", name="dana").get_by_role("checkbox").check()
    tab.get_by_label("Action:").select_option(label="Create a link that sets the password of one person")
    tab.get_by_role("button", name="Go").click()
    link = tab.locator(".token-plain code").inner_text()
    site.picture(tab, "password-link")
    newcomer = _stranger(site)
    newcomer.goto(link)
    for label in ("New password", "New password confirmation"):
        newcomer.get_by_label(label, exact=True).fill(PASSWORD)
    site.picture(newcomer, "password-set")
    newcomer.get_by_role("button", name="Set password").click()
    expect(newcomer).to_have_url(re.compile("/account/sign-in/$"))
    tab.goto(f"/admin/tenants/role/{site.cast.roles['approver'].pk}/change/")
    site.picture(tab, "admin-role")
    assert not site.complaints


def _stranger(site: Site) -> Page:
    """A tab in which nobody is signed in."""
    tab = site.browser.new_context(base_url=site.base, color_scheme="light", reduced_motion="reduce").new_page()
    tab.set_default_timeout(15_000)
    tab.on("pageerror", lambda e: site.complaints.append(str(e)))
    return tab


def _give_password(principal: Principal) -> None:
    principal.set_password(PASSWORD)
    principal.save()
