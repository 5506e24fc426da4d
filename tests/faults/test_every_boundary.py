"""SIGKILL at every boundary of each of five steps, forward and back: the action ends as if nothing had happened."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actions.engine.sweep import end_expired_leases
from actions.models import Action, JournalEntry
from audit.models import Event
from tests.actions.factory import root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions
from tests.support.ledger_executor import balance, doubles, read_ledger
from tests.support.nursery import Nursery, nursery
from tests.support.processes import wait_for

STEPS = 5
FORWARD = ("before_intent", "after_intent", "after_effect", "after_receipt")
BACK = ("before_undo_intent", "after_undo_intent", "after_undo_effect", "after_undo_receipt")
KILLED = -9


@contextmanager
def a_death_and_a_heir(workers: Nursery, boundary: str, action: Action) -> Iterator[None]:
    """Kill a worker there; look at what it left; then let the sweep free that, and another worker end it."""
    assert workers.work(boundary) == KILLED, f"nobody came by {boundary}"
    assert Action.objects.get(pk=action.pk).lease_id is not None, "a killed worker lets go of nothing"
    yield
    wait_for(lambda: end_expired_leases() == 1, 10, "the end of the dead worker's lease")
    assert workers.work() == 0


def deaths_at(boundaries: tuple[str, ...]) -> list[Any]:
    """The third step at every boundary; and at each boundary every step, which takes long."""
    everywhere = [[(boundary, step) for step in range(1, STEPS + 1)] for boundary in boundaries]
    return [
        pytest.param([(boundary, 3) for boundary in boundaries], id="the third step"),
        *(pytest.param(deaths, id=deaths[0][0], marks=pytest.mark.slow) for deaths in everywhere),
    ]


@pytest.mark.parametrize("deaths", deaths_at(FORWARD))
def test_a_worker_killed_on_the_way_forward_costs_nothing(
    committed_cast, product_environment, redis_client, ledger_type, deaths
):
    ledger, actions = root_of(committed_cast.dev) / ".ledger", []
    with nursery(product_environment) as workers:
        for number, (boundary, step) in enumerate(deaths):
            actions += ledger_actions(committed_cast, 1, steps=STEPS)
            with a_death_and_a_heir(workers, f"{boundary}:{step}", actions[-1]):
                assert len(read_ledger(ledger)) == number * STEPS + effects_before(boundary, step)
            assert Action.objects.get(pk=actions[-1].pk).state == "completed"
    assert_each_effect_once(actions, ledger)
    assert_sound(actions)
    assert Event.objects.filter(verb="lease.lost").count() == len(deaths)
    assert not Event.objects.filter(verb__in=["step.failed", "action.hold"]).exists(), "no step was in doubt"


@pytest.mark.parametrize("deaths", deaths_at(BACK))
def test_a_worker_killed_on_the_way_back_leaves_the_state_before(
    committed_cast, product_environment, redis_client, ledger_type, deaths
):
    ledger, actions = root_of(committed_cast.dev) / ".ledger", []
    with nursery(product_environment) as workers:
        for boundary, step in deaths:
            actions += ledger_actions(committed_cast, 1, steps=STEPS, fail_verify=True)
            with a_death_and_a_heir(workers, f"{boundary}:{step}", actions[-1]):
                assert Action.objects.get(pk=actions[-1].pk).state == "rolling_back"
            assert Action.objects.get(pk=actions[-1].pk).state == "rolled_back"
    lines = Counter((line["key"], line["verb"]) for line in read_ledger(ledger))
    assert set(lines.values()) == {1}
    assert len(lines) == 2 * STEPS * len(deaths)
    assert (doubles(ledger), balance(ledger)) == ([], {})
    receipts = JournalEntry.objects.filter(kind="undo_receipt")
    assert receipts.count() == receipts.values("action", "step").distinct().count() == STEPS * len(deaths)
    assert_sound(actions)
    assert not Event.objects.filter(verb__in=["step.undo_failed", "action.hold"]).exists()


def effects_before(boundary: str, step: int) -> int:
    """How many effects a worker has made of an action when it comes by this boundary of this step."""
    return step if boundary in ("after_effect", "after_receipt") else step - 1
