"""A run in trouble, in the browser: stopping it, taking it back, settling it, and clearing what it left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from actions.models import Action, Quarantine
from actions.types import registry
from tests.browser.conftest import Site
from tests.support.ledger_executor import LedgerExecutor, balance
from tests.support.processes import WITH_LEDGER, wait_for

pytestmark = pytest.mark.browser

TOO_WIDE = """[...document.querySelectorAll("#abort-panel, #abort-panel *")].filter(
    (e) => e.getBoundingClientRect().right > 390.5).map((e) => e.outerHTML.slice(0, 80))"""


@pytest.fixture
def worker_app() -> str:
    return WITH_LEDGER


@pytest.fixture(autouse=True)
def ledger_type() -> Iterator[None]:
    """The test itself proposes actions of the ledger type; the server need not know it."""
    with registry.register_executor(LedgerExecutor()):
        yield


def ledger_run(site: Site, **parameters: Any) -> Action:
    return site.propose("dev", type="ledger", parameters=parameters, accept=True)


def cells(site: Site) -> dict[str, int]:
    return balance(Path(site.cast.dev.root) / ".ledger")


def done(action: Action, steps: int) -> bool:
    return Action.objects.get(pk=action.pk).steps_done >= steps


def test_an_abort_shows_what_it_would_do_and_only_then_does_it(site: Site) -> None:
    """Without scripts as a page of its own; by keyboard on a phone in place."""
    action = ledger_run(site, steps=9, sleep_ms=1_500)
    wait_for(lambda: done(action, 1), 30, "the first step")
    plain = site.page("operator", java_script_enabled=False)
    plain.goto(f"/actions/{action.pk}/run/")
    plain.click("text=Abort run")
    assert "Running now" in plain.inner_text("main") and "Will be undone" in plain.inner_text("main")
    site.picture(plain, "abort-without-scripts")
    plain.click("text=Keep running")
    assert plain.is_visible("text=Abort run")
    tab = site.page("operator", width=390, height=844, scheme="dark")
    tab.goto(f"/actions/{action.pk}/run/")
    tab.focus("[data-arm]")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".abort__armed >> text=Will be undone")
    assert tab.evaluate("document.activeElement.matches('[data-armed]')")
    assert "Add to cell-1" in tab.inner_text(".abort__what")
    assert tab.evaluate(TOO_WIDE) == []
    site.picture(tab, "abort-armed-390")
    tab.click("text=Keep running")
    assert Action.objects.get(pk=action.pk).stop_requested_at is None
    tab.focus("[data-arm]")
    tab.keyboard.press("Enter")
    tab.fill(".abort__armed [name=reason]", "wrong window")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#run-head >> text=Rolled back")
    tab.wait_for_selector("text=The run stopped at a checkpoint")
    assert "previous state restored" in tab.inner_text("#back-report")
    assert cells(site) == {}


def test_a_run_goes_back_and_on_is_settled_and_what_it_left_is_cleared(site: Site) -> None:
    tab = site.page("operator")
    goes_back_and_on(site, tab)
    is_settled_by_who_looked(site, tab)
    is_cleared_through_an_approved_action(site, tab)


def goes_back_and_on(site: Site, tab: Page) -> None:
    action = ledger_run(site, steps=4, sleep_ms=1_200)
    wait_for(lambda: done(action, 2), 30, "the second step")
    tab.goto(f"/actions/{action.pk}/run/")
    tab.click("#back-to summary")
    tab.check("#back-to [name=to][value='001:cell-1']")
    tab.fill("#back-to [name=reason]", "one too far")
    site.picture(tab, "back-to-checkpoint")
    tab.click("text=Stop and roll back to it")
    tab.wait_for_selector("#held-panel >> text=Held: back at a checkpoint")
    assert cells(site) == {"cell-1": 1}
    site.picture(tab, "held-at-checkpoint")
    tab.click("#held-panel >> button:has-text('Resolve')")
    tab.wait_for_selector("#run-head >> text=Completed", timeout=30_000)
    assert cells(site) == {f"cell-{n}": 1 for n in range(1, 5)}


def is_settled_by_who_looked(site: Site, tab: Page) -> None:
    """Its worker died behind the effect, and nobody can tell but who looks."""
    action = ledger_run(site, steps=2, blind=True, crash={"step": 1, "at": "after_effect"}, cells=[8, 9])
    site.reached(action, "held", seconds=40)
    tab.goto(f"/actions/{action.pk}/run/")
    assert "in doubt" in tab.inner_text("#held-panel")
    tab.check("[name=step_done][value=yes]")
    tab.fill("#held-panel textarea", "its line is there")
    site.picture(tab, "in-doubt")
    tab.click("#held-panel >> button:has-text('Resolve')")
    tab.wait_for_selector("#run-head >> text=Completed")
    assert cells(site) == {f"cell-{n}": 1 for n in (1, 2, 3, 4, 8, 9)}


def is_cleared_through_an_approved_action(site: Site, tab: Page) -> None:
    action = ledger_run(site, steps=1, blind=True, fail_at=1, cells=[7])
    site.reached(action, "held")
    tab.goto(f"/actions/{action.pk}/run/")
    tab.check("[name=step_done][value=unknown]")
    tab.check("[name=how][value=give_up]")
    tab.click("#held-panel >> button:has-text('Resolve')")
    site.reached(action, "failed")
    tab.wait_for_selector("#ended")
    shut = Quarantine.objects.get(action=action)
    tab.goto("/quarantine/")
    assert "cell-7" in tab.inner_text(f"#quarantine-{shut.pk}")
    site.picture(tab, "quarantine")
    tab.click(f"#quarantine-{shut.pk} >> text=Clear")
    tab.fill("[name=found]", "I counted: nothing is there")
    site.picture(tab, "quarantine-clear")
    tab.click("button:has-text('Propose')")
    tab.wait_for_selector("h1 >> text=Clear the quarantine of cell cell-7")
    clearing = site.reached(Action.objects.get(type="clear_quarantine"), "awaiting_approval")
    site.approve(clearing, "approver", "I looked, too")
    site.reached(clearing, "completed")
    tab.goto("/quarantine/")
    tab.wait_for_selector("text=Nothing is in quarantine")
    assert tab.locator("h2 >> text=Cleared").count() == 1
    assert Quarantine.objects.get().cleared_by_action_id == clearing.pk
