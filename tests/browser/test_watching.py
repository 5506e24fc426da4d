"""Watching a run: lines as they are written, a countdown, and a simulation from the form to its end."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from actions.models import Action
from actions.types import registry
from tests.browser.conftest import Site
from tests.support.ledger_executor import LedgerExecutor
from tests.support.processes import WITH_LEDGER, wait_for

pytestmark = pytest.mark.browser


@pytest.fixture
def worker_app() -> Iterator[str]:
    with registry.register_executor(LedgerExecutor()):
        yield WITH_LEDGER


def watching(site: Site, action: Action, **more: object) -> Page:
    tab = site.page("operator", **more)  # type: ignore[arg-type]
    tab.goto(f"/actions/{action.pk}/run/")
    tab.locator("#conn[data-state=live]").wait_for()
    return tab


def last_line(tab: Page) -> int:
    found = re.findall(r"line (\d+) of", tab.inner_text("#log"))
    return max(map(int, found), default=0)


def scrolled(tab: Page) -> float:
    return float(tab.evaluate("document.getElementById('log').scrollTop"))


def test_lines_come_as_they_are_written_and_leave_a_reader_where_they_are(site: Site) -> None:
    quick = {"type": "ledger", "accept": True}
    for _ in range(3):
        site.reached(site.propose("dev", **quick, parameters={"steps": 1}), "completed")
    action = site.propose("dev", **quick, parameters={"steps": 1, "sleep_ms": 9_000, "chatter": True})
    site.reached(action, "in_progress")
    began = time.monotonic()
    tab = watching(site, action)
    tab.wait_for_selector("#log >> text=line 1 of cell-1", timeout=6_000)
    assert Action.objects.get(pk=action.pk).state == "in_progress"
    tab.wait_for_selector("#log >> text=line 60 of cell-1")
    assert abs(time.monotonic() - began - last_line(tab) * 0.05) < 3, "hardly later than they were written"
    tab.wait_for_selector(".pace.is-late")
    assert tab.inner_text(".pace") == "longer than usual"
    site.picture(tab, "watching-live", full_page=True)
    assert tab.is_checked("#follow")
    tab.focus("#log")
    tab.keyboard.press("Home")
    tab.wait_for_selector("#follow:not(:checked)")
    wait_for(lambda: scrolled(tab) == 0, 5, "the beginning of the log")
    seen = last_line(tab)
    tab.wait_for_selector(f"#log >> text=line {seen + 25} of cell-1", state="attached")
    assert scrolled(tab) == 0, "what came did not move the reader"
    tab.keyboard.press("End")
    tab.wait_for_selector("#follow:checked")
    tab.wait_for_selector("#run-head >> text=Completed")
    numbers = [int(n) for n in tab.eval_on_selector_all(".log__n", "all => all.map(e => e.dataset.n)")]
    assert numbers == list(range(1, len(numbers) + 1)), "each line once, in order"
    assert "End of the log" in tab.inner_text("#log")


def test_a_simulation_is_chosen_on_the_form_and_then_run_for_real(site: Site) -> None:
    tab = site.page("operator")
    tab.goto("/actions/new/?type=modify_files&environment=prod")
    tab.fill("[name='parameters.changes.0.path']", "motd")
    tab.locator('label:has([value="create"])').click()
    tab.fill("[name='parameters.changes.0.content']", "hello\n")
    tab.fill("[name=reason]", "to see what it would do")
    tab.locator('label:has([value="simulate"])').click()
    tab.click("button[value=submit]")
    tab.wait_for_selector(".flag--sim")
    (action,) = Action.objects.filter(simulated=True)
    site.reached(action, "completed")
    tab.goto(f"/actions/{action.pk}/run/")
    tab.wait_for_selector("text=Would create motd")
    site.picture(tab, "watching-simulated", full_page=True)
    tab.click("text=Apply it")
    tab.fill("#form-retry [name=reason]", "as simulated")
    tab.click("text=Propose to apply")
    tab.wait_for_url(lambda address: str(action.pk) not in address)
    real = Action.objects.get(retry_of=action)
    assert not real.simulated
    assert site.reached(real, "awaiting_approval").requires_approval
