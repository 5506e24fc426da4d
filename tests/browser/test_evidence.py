"""Taking the evidence of an action along: for whom, as what, at once or built in the background."""

import io
from pathlib import Path

import pikepdf
import pytest

from actions.lifecycle.commit import action_subject
from audit.evidence.jobs import request_pack
from audit.verify import verify_file
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser

TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_whoever_may_view_an_action_takes_a_report_that_carries_its_evidence(site: Site, tmp_path: Path) -> None:
    action = site.propose("prod", title="Renew the gateway's certificate", reason="It runs out on Friday.")
    site.reached(action, "awaiting_approval")
    tab = site.page("operator")
    tab.goto(f"/actions/{action.pk}/")
    tab.click("header >> text=Evidence")
    tab.wait_for_selector("text=Export evidence")
    site.picture(tab, "evidence-export", full_page=True)
    tab.check("#form-pdf")
    tab.check("#for-external")
    with tab.expect_download() as download:
        tab.click("button:has-text('Export')")
    download.value.save_as(tmp_path / "report.pdf")
    with pikepdf.open(tmp_path / "report.pdf") as report:
        pack = report.attachments["evidence.zip"].get_file().read_bytes()
    found = verify_file(io.BytesIO(pack))
    assert found.audience == "external" and found.openings == 0 and found.closed > 0
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate(TOO_WIDE) <= 0
    site.picture(tab, "evidence-export-phone", full_page=True)


def test_a_large_pack_is_built_in_the_background_and_its_progress_seen(site: Site, tmp_path: Path) -> None:
    action = site.propose("prod", title="Renew the gateway's certificate")
    site.reached(action, "awaiting_approval")
    tab = site.page("operator")
    request_pack(action.tenant_id, action_subject(action), "full", "zip", str(site.cast.operator.pk))
    tab.goto(f"/actions/{action.pk}/evidence/")
    tab.wait_for_selector("#packs >> text=Download", timeout=60_000)
    site.picture(tab, "evidence-built", full_page=True)
    with tab.expect_download() as download:
        tab.click("#packs >> text=Download")
    download.value.save_as(tmp_path / "pack.zip")
    with (tmp_path / "pack.zip").open("rb") as file:
        assert verify_file(file).subject == f"action {action.pk}"
