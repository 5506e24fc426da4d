"""A worker that is told to stop ends soon, ends its lease, and leaves its action for another."""

import socket
import time

import pytest

from actions.models import Action, JournalEntry, Lease
from audit.models import Event
from tests.actions.factory import propose, root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.support.ledger_executor import read_ledger
from tests.support.processes import WITH_LEDGER, wait_for, worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_worker_that_is_told_to_stop_hands_a_long_step_over_at_once(
    committed_cast, product_environment, tmp_path, listening
):
    log = tmp_path / "worker.log"
    parameters = {"check": "self", "repeat": 20, "interval_s": 30}
    committed_cast.dev.settings |= {"healthchecks": {"self": {"host": "127.0.0.1", "port": listening}}}
    committed_cast.dev.save()
    action = propose(committed_cast, type="rerun_healthcheck", parameters=parameters)
    with worker(product_environment, log, INTERLOCK_LEASE_S="60") as first:
        wait_for(lambda: JournalEntry.objects.filter(action=action).exists(), 30, "the first intent", log)
        asked = time.monotonic()
        assert first.terminate() == 0
        assert time.monotonic() - asked < 10
    assert not Lease.objects.filter(ended_at=None).exists(), "a stopping worker ends its leases"
    now = Action.objects.get(pk=action.pk)
    assert (now.state, now.lease_id) == ("in_progress", None)
    assert not Event.objects.filter(subject_id=action.pk, verb__in=["step.failed", "lease.lost"]).exists()


def test_another_worker_carries_on_long_before_the_lease_would_have_ended(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    ledger, long_lease = root_of(committed_cast.dev) / ".ledger", {"INTERLOCK_LEASE_S": "60"}
    with worker(product_environment, first, WITH_LEDGER, **long_lease) as leaving:
        (action,) = ledger_actions(committed_cast, 1, sleep_ms=500)
        wait_for(lambda: len(read_ledger(ledger)) == 1, 30, "the first effect", first)
        with worker(product_environment, second, WITH_LEDGER, **long_lease):
            assert leaving.terminate() == 0
            wait_until_completed([action], 20, second)
    assert_each_effect_once([action], ledger)
    assert_sound([action])
    assert set(Lease.objects.exclude(ended_at=None).values_list("ended_why", flat=True)) == {"the worker stopped"}
    assert len({line["pid"] for line in read_ledger(ledger)}) == 2
    assert not Event.objects.filter(subject_id=action.pk, verb__in=["step.failed", "action.hold"]).exists()
