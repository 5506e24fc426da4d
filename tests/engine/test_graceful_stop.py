"""What a worker does with what it holds when it is told to stop, and with a write that cannot be made."""

import threading

import pytest

from actions.engine.runner import Runner
from actions.models import Action, JournalEntry, Lease
from actions.run import attempt, steps
from actions.types import registry
from tests.actions.factory import propose, root_of
from tests.actions.running import carry, verbs_of
from tests.support.ledger_executor import LedgerExecutor, balance, doubles

pytestmark = pytest.mark.django_db(transaction=True)


class Slow(LedgerExecutor):
    """Takes as long as the test says, and cannot be called back."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def apply(self, ctx):
        self.began.set()
        self.go.wait(20)
        return super().apply(ctx)


@pytest.fixture
def slow():
    with registry.register_executor(Slow()) as executor:
        yield executor
        executor.go.set()


def test_a_worker_that_stops_keeps_what_it_cannot_call_back(committed_cast, slow, monkeypatch):
    monkeypatch.setattr("actions.engine.runner.GRACE_S", 0.1)
    action = propose(committed_cast, type="ledger", parameters={"steps": 1}, accept=True)
    decide, execute = Runner("decide"), Runner("execute")
    decide.drain()
    decide.stop()
    stopper = threading.Thread(target=lambda: (slow.began.wait(20), execute.halt.set()))
    stopper.start()
    execute.drain()
    stopper.join()
    execute.stop()
    now = Action.objects.get(pk=action.pk)
    assert (now.state, now.lease_id) == ("in_progress", execute.lease.current())
    assert Lease.objects.get(pk=now.lease_id).ended_at is None, "another worker would do it a second time beside us"
    other = Runner("execute")
    assert other.drain() == 0
    other.stop()

    slow.go.set()
    for future in execute.effects.leaked:
        future.result(20)
    execute.stop()
    Action.objects.filter(pk=action.pk).update(lease=None)  # what the sweep does once the lease has ended
    assert carry(action).state == "completed"
    ledger = root_of(committed_cast.dev) / ".ledger"
    assert (balance(ledger), doubles(ledger)) == ({"cell-1": 1}, [])


def test_a_write_that_cannot_be_made_ends_its_own_action_and_no_other(committed_cast, monkeypatch):
    sound = attempt.receipt_note

    def note(step, receipt, tried, *more):
        made = sound(step, receipt, tried, *more)
        if receipt.action_id == bad.pk:
            made.facts["poison"] = object()
        return made

    monkeypatch.setattr(steps, "receipt_note", note)
    with registry.register_executor(LedgerExecutor()):
        bad = propose(committed_cast, type="ledger", parameters={"steps": 2}, accept=True)
        good = [propose(committed_cast, type="ledger", parameters={"steps": 2}, accept=True) for _ in range(3)]
        now = carry(bad)
    assert {a.state for a in Action.objects.filter(pk__in=[g.pk for g in good])} == {"completed"}
    assert (now.state, now.held_reason, now.lease_id) == ("held", "internal_error", None)
    assert verbs_of(bad)[-1] == "action.hold"
    assert not JournalEntry.objects.filter(action=bad, kind="receipt").exists()
