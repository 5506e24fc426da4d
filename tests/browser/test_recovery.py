"""A retry that waits, an abort that cuts the wait short, and a breaker that an operator resets on the system page."""

from collections.abc import Iterator

import pytest

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


def busy(site: Site, times: int, **recovery: object) -> Action:
    parameters = {"steps": 2, "busy": {"step": 1, "times": times}}
    return site.propose("dev", type="ledger", accept=True, parameters=parameters, recovery=recovery)


def test_a_wait_is_shown_and_an_open_breaker_is_reset(site: Site) -> None:
    waits = busy(site, 1, delay_s=600, max_delay_s=600)
    tab = site.page("operator", width=390, height=800)
    tab.goto(f"/actions/{waits.pk}/run/")
    tab.wait_for_selector("#run-head >> text=Retry in")
    site.picture(tab, "recovery-waits-phone", full_page=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab = site.page("operator")
    tab.goto(f"/actions/{waits.pk}/")
    assert "A step is tried 3 times at most" in tab.inner_text("#recovery")
    site.picture(tab, "recovery-review", full_page=True)
    for _ in range(4):
        site.reached(busy(site, 99, max_attempts=1), "failed")
    blocked = site.reached(busy(site, 5, max_attempts=1), "approved")
    tab.goto(f"/actions/{blocked.pk}/")
    tab.wait_for_selector("#notices >> text=the circuit breaker of ledger")
    tab.goto("/system/#breakers")
    assert "busy" in tab.inner_text("#breakers")
    site.picture(tab, "recovery-breakers", full_page=True)
    phone = site.page("operator", width=390, height=800, scheme="dark")
    phone.goto("/system/")
    site.picture(phone, "recovery-breakers-phone", full_page=True)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    tab.click("#breakers button")
    tab.wait_for_selector("#breakers >> text=All closed")
    wait_for(lambda: Action.objects.get(pk=blocked.pk).state == "completed", 20, "what waited behind the breaker")
