"""An auditor finds a change by a day and a word, follows it to its signed head, and takes evidence along."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.auditor.explore.index import indexed_upto, run_slice
from audit.database.clock import uuid7
from audit.log.events import NO_EVENTS, NewEvent, Subject, append_events
from audit.models import Event
from audit.models.auditor import Word
from tests.audit.test_explorer import change
from tests.browser.conftest import Site
from tests.support.processes import REPO, wait_for

pytestmark = pytest.mark.browser

TOO_WIDE = """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
    [...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth)
    .map(e => e.outerHTML.slice(0, 120)).slice(0, 5)"""
HOSTILE = "Because \u202e of <b>it</b> the handshake fails."


def indexed(site: Site) -> None:
    """Wait until the worker has brought the index up to the log."""
    last = Event.objects.order_by("-pk").values_list("pk", flat=True).first()
    wait_for(lambda: indexed_upto()[0] >= last, 30, "the index") if last else None


def test_an_auditor_finds_the_right_change_by_a_day_and_a_word_and_takes_its_evidence(
    site: Site, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    for n, days in enumerate((-60, -9, -3, -2)):
        change(site.cast, f"Renew certificate {n}", "The handshake worked before", now + timedelta(days=days))
    change(site.cast, "Rotate the logs", "They fill the disk", now)
    action = site.propose("prod", title="Renew the gateway's certificate", reason=HOSTILE)
    site.reached(action, "awaiting_approval")
    indexed(site)
    tab = site.page("auditor")
    tab.goto("/audit/")
    assert tab.locator("[data-go=e][aria-current=page]").count() == 1 and tab.locator("#integrity").is_visible()
    site.picture(tab, "audit-log")
    tab.fill("[name=q]", "handshake")
    tab.fill("[name=around]", (now + timedelta(days=1)).date().isoformat())
    tab.click("#audit-filters >> text=Search")
    first = tab.locator(".hit").first
    assert action.title in first.inner_text() and "handshake" in first.locator("mark").all_inner_texts()
    assert tab.locator(".hit").count() == 2, "± 3 days: of the others, one is near enough"
    assert "U+202E of <b>it</b>" in first.inner_text()
    site.picture(tab, "audit-found")

    first.locator(".hit__t").click()
    tab.wait_for_selector("h2:has-text('Relations')")
    site.picture(tab, "audit-subject", full_page=True)
    tab.click("text=Verify now")
    tab.wait_for_selector("text=Chain verified up to #")
    tab.locator(".ev__seq").nth(2).click()
    tab.wait_for_selector("text=Before and after")
    tab.wait_for_selector("text=Inclusion proof")
    assert (
        "Verified: the signed tree head commits to exactly these bytes." in tab.locator(".inclusion-proof").inner_text()
    )
    site.picture(tab, "audit-event", full_page=True)

    tab.goto(f"/audit/subjects/{action.pk}/")
    tab.click("text=Evidence pack")
    with tab.expect_download() as download:
        tab.click("button:has-text('Export')")
    download.value.save_as(tmp_path / "pack.zip")
    tab.goto("/verify/")
    tab.set_input_files("#id_pack", tmp_path / "pack.zip")
    tab.click("form[enctype] >> text=Verify")
    tab.wait_for_selector("[role=status] .notice--ok")
    site.picture(tab, "audit-verified-pack")
    command = [sys.executable, "-m", "audit.verify", str(tmp_path / "pack.zip")]
    checked = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0 and str(action.pk) in checked.stdout, checked.stdout + checked.stderr


def test_an_auditor_opens_an_event_saves_a_search_and_gets_a_report(site: Site, tmp_path: Path) -> None:
    action = site.propose("prod", reason=HOSTILE)
    site.reached(action, "awaiting_approval")
    indexed(site)
    tab = site.page("auditor")
    tab.goto("/audit/?verb=action.submitted")
    row = tab.locator("tr", has_text="action.submitted").first
    assert "Operator" in row.inner_text() and action.title in row.inner_text()
    row.locator(".ev__seq").click()
    tab.wait_for_selector(".ev__more")
    assert "Because U+202E of <b>it</b>" in tab.locator(".ev__more").inner_text()
    tab.click("text=Save this search")
    tab.fill(".saveit [name=name]", "What was proposed")
    tab.click(".saveit button")
    tab.wait_for_selector(".saved >> text=What was proposed")
    site.picture(tab, "audit-saved")

    tab.click(".exbar >> text=Reports")
    tab.click("text=Evidence for a period")
    tab.fill("#id_since", (datetime.now(UTC) - timedelta(days=1)).date().isoformat())
    tab.fill("#id_until", (datetime.now(UTC) + timedelta(days=1)).date().isoformat())
    tab.click("text=Preview")
    tab.wait_for_selector("#preview")
    assert action.title in tab.locator("#preview").inner_text()
    site.picture(tab, "audit-report", full_page=True)
    tab.click("button:has-text('Create')")
    made = tab.locator("#runs tbody tr", has_text="Evidence for a period")
    made.locator("text=PDF").wait_for(timeout=60_000)
    with tab.expect_download() as download:
        made.locator("text=PDF").click()
    download.value.save_as(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    site.picture(tab, "audit-runs")
    tab.click(".exbar >> text=Controls")
    tab.wait_for_selector("text=PCI DSS")
    site.picture(tab, "audit-controls", full_page=True)


def test_the_auditors_pages_fit_a_phone_in_the_dark_and_bear_ten_thousand_rows(site: Site) -> None:
    action = site.propose("prod", title="A" * 190, reason="handshake " * 60)
    site.reached(action, "awaiting_approval")
    many(site, 10_000)
    event = Event.objects.filter(subject_id=action.pk, verb="preflight.planned").get()
    tab = site.page("auditor", width=390, height=844, scheme="dark")
    pages = {
        "log": f"/audit/?subject={action.pk}",
        "many": "/audit/",
        "found": "/audit/?q=handshake",
        "none": "/audit/?q=nothinglikethis",
        "subject": f"/audit/subjects/{action.pk}/",
        "event": f"/audit/events/{event.pk}/",
        "reports": "/audit/reports/",
        "report": "/audit/reports/changes/",
        "controls": "/audit/controls/",
    }
    for name, address in pages.items():
        tab.goto(address)
        assert not tab.evaluate(TOO_WIDE), f"{address} is wider than a phone"
        site.picture(tab, f"audit-phone-{name}", full_page=True)
    tab.goto("/audit/")
    assert "10,000+" in tab.locator("#facets").inner_text()


def many(site: Site, count: int) -> None:
    """Events of one busy subject, recorded in one go and indexed."""
    about = Subject("deed", uuid7())
    entries = [NewEvent(site.cast.acme.pk, about, f"deed.done{n % 7}", "system:setup") for n in range(count)]
    append_events(entries, {about.id: NO_EVENTS}, datetime.now(UTC))
    indexed(site)
    assert Word.objects.exists() and run_slice() == 0
