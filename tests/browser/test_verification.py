"""An auditor verifies the log and sees it through; a stranger learns whether a kept head still holds."""

import pytest
from django.db import connection

from audit.database import guards
from audit.models import Event
from audit.models.seals import Tree
from audit.seals.tree import newest_head
from tests.browser.conftest import Site
from tests.browser.test_audit import TOO_WIDE
from tests.support.processes import wait_for

pytestmark = pytest.mark.browser

VERDICT = "#verifications tbody tr:first-child .evt"


def test_the_log_is_verified_with_progress_and_a_break_is_named(site: Site) -> None:
    action = site.propose("prod")
    site.reached(action, "awaiting_approval")
    tenant = site.cast.acme.pk
    wait_for(lambda: Tree.objects.filter(tenant=tenant, size__gt=3).exists(), 30, "the first seal")
    tab = site.page("auditor")
    tab.goto("/audit/verification/")
    tab.select_option("#id_depth", "log")
    tab.click("button:has-text('Verify')")
    tab.reload()
    tab.wait_for_selector(f"{VERDICT}--ok")
    site.picture(tab, "verification", full_page=True)
    guards.unprotect(connection)
    gone = Event.objects.filter(tenant=tenant, subject_id=action.pk, seq=2).get()
    gone.delete()
    guards.protect(connection)
    tab.select_option("#id_depth", "log")
    tab.click("button:has-text('Verify')")
    tab.wait_for_selector(f"{VERDICT}--bad")
    assert "deleted" in tab.inner_text("#verifications tbody tr:first-child")
    assert f"event #2 of action {action.pk}" in tab.inner_text("#verifications")
    site.picture(tab, "verification-broken", full_page=True)
    phone = site.page("auditor", width=390, height=844, scheme="dark")
    phone.goto("/audit/verification/")
    assert phone.evaluate(TOO_WIDE) == []
    site.picture(phone, "verification-390", full_page=True)
    stranger = site.browser.new_context(viewport={"width": 390, "height": 844}, base_url=site.base).new_page()
    stranger.goto("/verify/")
    stranger.fill("#id_head", newest_head(tenant).note)
    stranger.click("button:has-text('Verify')")
    stranger.wait_for_selector(".notice--bad:has-text('Records of this log were changed')")
    assert stranger.evaluate(TOO_WIDE) == []
    site.picture(stranger, "verify-390", full_page=True)
