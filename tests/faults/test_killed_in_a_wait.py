"""Workers that die while a retry waits, and a target that fails for one process after the other."""

import random
import secrets
from datetime import datetime, timedelta

import pytest
from django.db.models.functions import Now

from actions.engine.sweep import end_expired_leases, sweep_all
from actions.models import Action, CircuitBreaker, JournalEntry, RetryBudget
from audit.models import Event
from tests.actions.factory import propose, root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound
from tests.support.ledger_executor import read_ledger
from tests.support.nursery import nursery
from tests.support.processes import wait_for

KILLED = -9


def busy(cast, step: int, times: int, **recovery) -> Action:
    parameters = {"steps": 3, "busy": {"step": step, "times": times}}
    return propose(cast, type="ledger", parameters=parameters, accept=True, recovery=recovery)


def test_a_worker_killed_while_a_retry_waits_leaves_the_wait_to_its_heir(
    committed_cast, product_environment, redis_client, ledger_type
):
    ledger = root_of(committed_cast.dev) / ".ledger"
    action = busy(committed_cast, 2, 1, delay_s=4, max_delay_s=4)
    with nursery(product_environment) as workers:
        assert workers.work("resting:1") == KILLED
        waits = JournalEntry.objects.filter(action=action).latest("id")
        assert (waits.kind, waits.attempt) == ("intent", 2)
        wait_for(lambda: end_expired_leases() == 1, 10, "the end of the dead worker's lease")
        assert workers.work() == 0
    receipt = JournalEntry.objects.get(action=action, step=waits.step, kind="receipt")
    assert receipt.at >= datetime.fromisoformat(waits.facts["retry_at"]) - timedelta(seconds=0.2)
    assert Action.objects.get(pk=action.pk).state == "completed"
    assert len(read_ledger(ledger.with_name(".ledger.tries"))) == 2
    assert_each_effect_once([action], ledger)
    assert_sound([action])


def test_a_breaker_that_several_processes_opened_stops_them_all(
    committed_cast, product_environment, redis_client, ledger_type
):
    tries = root_of(committed_cast.dev) / ".ledger.tries"
    with nursery(product_environment) as workers:
        for _ in range(7):
            last = busy(committed_cast, 1, 5, max_attempts=1)
            assert workers.work() == 0
        assert len({line["pid"] for line in read_ledger(tries)}) == len(read_ledger(tries)) == 5
        assert Action.objects.get(pk=last.pk).state == "approved"
        CircuitBreaker.objects.update(open_until=Now() - timedelta(seconds=1))
        sweep_all(lambda queue, **more: None)
        assert workers.work() == 0
        assert CircuitBreaker.objects.get().state == "closed"
        assert workers.work() == 0
    assert Action.objects.filter(state="completed").count() == 2
    said = Event.objects.filter(subject_kind="breaker").order_by("seq")
    assert list(said.values_list("verb", flat=True)) == ["breaker.opened", "breaker.closed"]


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_workers_killed_anywhere_among_retries_cost_nothing(
    committed_cast, product_environment, redis_client, ledger_type
):
    ledger, seed = root_of(committed_cast.dev) / ".ledger", secrets.randbelow(10**6)
    print(f"seed {seed}")
    chance, actions, killed = random.Random(seed), [], 0
    points = ("resting", "before_intent", "after_intent", "after_effect", "after_receipt")
    with nursery(product_environment) as workers:
        for _ in range(60):
            CircuitBreaker.objects.all().delete()
            RetryBudget.objects.all().delete()
            tried = len(read_ledger(ledger.with_name(".ledger.tries")))
            actions.append(busy(committed_cast, chance.randint(1, 3), tried + chance.randint(0, 2), delay_s=0.3))
            if workers.work(f"{chance.choice(points)}:{chance.randint(1, 3)}") == KILLED:
                killed += 1
                wait_for(lambda: end_expired_leases() >= 1, 10, "the end of the dead worker's lease")
                assert workers.work() == 0
    print(f"{killed} of {len(actions)} first workers were killed")
    states = set(Action.objects.filter(pk__in=[a.pk for a in actions]).values_list("state", flat=True))
    assert states == {"completed"}
    assert_each_effect_once(actions, ledger)
    assert_sound(actions)
