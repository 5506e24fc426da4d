"""A worker stands still past its lease and wakes up in the middle of a step: the database takes nothing from it."""

import signal
import time

from django.db import OperationalError, connection, transaction

from actions.models import Action, JournalEntry, Lease
from audit.models import Event
from tests.actions.factory import root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.support.ledger_executor import read_ledger
from tests.support.processes import WITH_LEDGER, Worker, wait_for, worker


def freeze(doomed: Worker) -> None:
    """Stop every process of a worker at a moment at which it holds no lock: that would stop everybody, and rightly."""
    for _ in range(20):
        doomed.signal(signal.SIGSTOP)
        time.sleep(0.05)
        if nothing_is_locked():
            return
        doomed.signal(signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("the worker held a lock whenever it was stopped")


def nothing_is_locked() -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT id FROM actions_lease FOR UPDATE NOWAIT")
                cursor.execute("SELECT id FROM actions_action FOR UPDATE NOWAIT")
            else:
                cursor.execute("PRAGMA busy_timeout = 100")
                cursor.execute("UPDATE actions_lease SET queue = queue")
            return True
    except OperationalError:
        return False
    finally:
        if connection.vendor == "sqlite":
            connection.close()


def test_a_worker_that_wakes_up_after_its_lease_writes_nothing(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    ledger = root_of(committed_cast.dev) / ".ledger"
    with worker(product_environment, first, WITH_LEDGER, INTERLOCK_LOG_LEVEL="INFO") as zombie:
        (action,) = ledger_actions(committed_cast, 1, sleep_ms=600)
        wait_for(lambda: len(read_ledger(ledger)) == 1, 30, "the first effect", first)
        wait_for(lambda: begun(action) == 2, 10, "the second intent", first)
        freeze(zombie)
        old = JournalEntry.objects.filter(action=action).latest("id").lease
        with worker(product_environment, second, WITH_LEDGER):
            wait_until_completed([action], 30, second)
            known = witnessed(action)
            zombie.signal(signal.SIGCONT)
            wait_for(lambda: b"action_moved_on" in first.read_bytes(), 15, "the refusal of its next write", first)
            assert witnessed(action) == known
    assert Lease.objects.get(pk=old).ended_why == "not renewed in time"
    assert Event.objects.filter(subject_id=action.pk, verb="lease.lost").count() == 1
    after = Event.objects.get(subject_id=action.pk, verb="lease.lost").at
    assert not JournalEntry.objects.filter(action=action, lease=old, at__gt=after).exists()
    assert_each_effect_once([action], ledger)
    assert_sound([action])
    assert len({line["pid"] for line in read_ledger(ledger)}) == 2


def begun(action: Action) -> int:
    return JournalEntry.objects.filter(action=action, kind="intent").count()


def witnessed(action: Action) -> tuple[object, ...]:
    """Everything of an action that a write would change."""
    row = Action.objects.filter(pk=action.pk).values().get()
    events = list(Event.objects.filter(subject_id=action.pk).values_list("seq", "hash"))
    return row, events, list(JournalEntry.objects.filter(action=action).values_list("pk", flat=True))
