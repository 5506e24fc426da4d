"""An auditor reads the log, opens an event, verifies its chain and takes the evidence along."""

from pathlib import Path

from audit.verify import verify_file
from tests.browser.conftest import Site


def test_an_auditor_follows_one_action_through_the_log(site: Site, tmp_path: Path) -> None:
    action = site.propose("prod", reason="Because \u202e of <b>it</b>.")
    site.reached(action, "awaiting_approval")
    tab = site.page("auditor")
    tab.goto("/audit/")
    assert tab.locator("[data-go=e][aria-current=page]").count() == 1
    row = tab.locator("tr", has_text="action.submitted").first
    assert "Operator" in row.inner_text() and action.title in row.inner_text()
    site.picture(tab, "audit-log")

    row.locator(".ev__seq").click()
    tab.wait_for_selector(".ev__more")
    opened = tab.locator(".ev__more").inner_text()
    assert "Because U+202E of <b>it</b>." in opened and "not yet sealed" in opened
    site.picture(tab, "audit-opened")

    tab.click("text=Show this chain")
    tab.wait_for_selector("text=Not verified since you opened this page")
    tab.click("text=Verify now")
    tab.wait_for_selector(f"text=Chain verified up to #{site.reached(action, 'awaiting_approval').seq}")
    assert tab.locator(".tablewrap .ev tbody tr").count() > 2
    site.picture(tab, "audit-verified")

    with tab.expect_download() as download:
        tab.click("text=Evidence pack")
    download.value.save_as(tmp_path / "pack.zip")
    with (tmp_path / "pack.zip").open("rb") as file:
        assert str(action.pk) in str(verify_file(file))


def test_the_log_fits_a_phone_in_the_dark(site: Site) -> None:
    action = site.propose("prod")
    site.reached(action, "awaiting_approval")
    tab = site.page("auditor", width=390, height=844, scheme="dark")
    tab.goto(f"/audit/?subject={action.pk}")
    tab.locator(".ev__seq").last.click()
    tab.wait_for_selector(".ev__more")
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    site.picture(tab, "audit-phone", full_page=True)
