"""Claims and effects when writes fail, come too late, or are made anew: nobody loses theirs, nobody waits for ever."""

import threading
import time
from datetime import UTC, datetime

import pytest
from django.db import OperationalError, transaction

from actions.commands import stop_resume
from actions.controls.resource_locks import acquire, lock_requests
from actions.engine import runner as runners
from actions.engine.dequeue import dequeue
from actions.engine.effects import ActiveAction, EffectPool
from actions.lifecycle import commit
from actions.lifecycle.commit import commit as write
from actions.lifecycle.context import ActionContext, StartEffect
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action, JournalEntry, ResourceLock
from audit.models import Event
from tests.actions.factory import a_running_lease, an_action, propose, root_of
from tests.actions.running import carry
from tests.support.ledger_executor import LedgerExecutor, balance, doubles

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


def on(cast, *names: str):
    return lock_requests(cast.dev.pk, [{"kind": "file", "name": name} for name in names])


def queue_up(cast, action: Action, name: str, *, held: bool = False) -> None:
    (it,) = on(cast, name)
    ResourceLock.objects.create(
        key=it.key, tenant=cast.acme, environment=cast.dev, kind=it.kind, name=name, action=action, held=held
    )


def take_one(action: Action, claims) -> bool:
    with transaction.atomic():
        return action.pk in acquire([(action, claims)])


def begin(action: Action, claims, **more) -> list[Transition]:
    return write([Transition(action, "start", lock_requests=claims, **more)])


def test_two_that_queued_up_crosswise_do_not_wait_for_one_another(committed_cast):
    first, second = (an_action(committed_cast, "approved") for _ in range(2))
    for action, name in ((first, "a"), (second, "a"), (second, "b"), (first, "b")):
        queue_up(committed_cast, action, name)
    assert dequeue("execute", a_running_lease().pk, 10).ids == [first.pk]
    assert not take_one(second, on(committed_cast, "a", "b"))
    assert take_one(first, on(committed_cast, "a", "b"))


def test_a_worker_that_lost_its_lease_takes_no_claim_from_the_one_that_runs_the_action(committed_cast):
    lost, ours = a_running_lease(), a_running_lease()
    action = an_action(committed_cast, "approved", lease=ours)
    late = Action.objects.get(pk=action.pk)
    assert begin(action, on(committed_cast, "a"), lease=ours.pk)
    assert begin(late, on(committed_cast, "a"), lease=lost.pk) == []
    assert list(ResourceLock.objects.values_list("action", "held")) == [(action.pk, True)]


def test_a_write_that_came_too_late_keeps_its_place_and_leaves_no_claim(committed_cast):
    ours = a_running_lease()
    action = an_action(committed_cast, "approved", lease=ours)
    write([Transition(Action.objects.get(pk=action.pk), notes=[Note("action.noted")])])
    assert begin(action, on(committed_cast, "a"), lease=ours.pk) == []
    assert not ResourceLock.objects.exists()


def test_a_write_turned_back_in_a_transaction_that_failed_begins_when_it_is_offered_again(committed_cast):
    holder, action = an_action(committed_cast, "held"), an_action(committed_cast, "approved")
    queue_up(committed_cast, holder, "a", held=True)
    w = Transition(action, "start", lock_requests=on(committed_cast, "a"))
    with pytest.raises(OperationalError), transaction.atomic():
        assert write([w]) == [w] and w.is_blocked
        raise OperationalError("the connection is gone")
    ResourceLock.objects.all().delete()
    action.refresh_from_db()
    assert write([w]) == [w] and not w.is_blocked
    assert Action.objects.get(pk=action.pk).state == "in_progress"
    assert list(ResourceLock.objects.values_list("action", "held")) == [(action.pk, True)]


def test_what_is_held_before_it_began_waits_in_no_queue(committed_cast):
    action, behind = an_action(committed_cast, "approved"), an_action(committed_cast, "approved")
    queue_up(committed_cast, action, "a")
    write([Transition(action, "hold", sets={"held_reason": "replans"})])
    assert not ResourceLock.objects.exists()
    assert take_one(behind, on(committed_cast, "a"))


def test_what_a_plan_no_longer_wants_is_not_waited_for(committed_cast):
    holder, action, behind = (an_action(committed_cast, "approved") for _ in range(3))
    queue_up(committed_cast, holder, "a", held=True)
    queue_up(committed_cast, action, "a")
    queue_up(committed_cast, behind, "a")
    assert take_one(action, on(committed_cast, "b"))
    assert list(ResourceLock.objects.filter(action=action).values_list("name", "held")) == [("b", True)]


def test_of_two_failed_steps_a_person_settles_the_one_in_doubt(committed_cast, ledger_type):
    ledger_type.before = lambda ctx: time.sleep(0.3 if ctx.step["spec"]["cell"] == "cell-2" else 0)
    parameters = {"steps": 2, "after": [[], []], "fail_at": 2, "blind": True}
    action = carry(propose(committed_cast, type="ledger", parameters=parameters, accept=True))
    plan = action.plan
    lines = {"action": action, "plan": plan, "lease": 0, "at": datetime.now(UTC), "attempt": 9}
    JournalEntry.objects.create(**lines, step=plan.steps[0]["key"], kind="failure", facts={"code": "told_to_fail"})
    assert (action.state, action.held_reason) == ("held", "in_doubt")
    stop_resume.resume(committed_cast.access("operator"), action.pk, "I looked", step_done=True)
    assert list(JournalEntry.objects.filter(lease=0, kind="receipt").values_list("step", flat=True)) == ["002:cell-2"]


def test_an_effect_that_only_waits_for_a_thread_has_not_overrun(committed_cast):
    effects, hung = EffectPool("execute", 1), threading.Event()
    stuck, waiting = (ActiveAction(a_case(an_action(committed_cast)), iter(())) for _ in range(2))
    carried = {c.context.action.pk: c for c in (stuck, waiting)}
    effects.submit(stuck, StartEffect("stuck", hung.wait, overdue_s=0.2))
    effects.submit(waiting, StartEffect("waits", lambda: "done", overdue_s=0.0))
    time.sleep(0.3)
    assert [f.key for f, _ in effects.timed_out(carried)] == ["stuck"]
    ended = effects.ended(2.0) or effects.ended(2.0)
    assert [(f.key, r.value) for f, r in ended] == [("waits", "done")], "it goes on in a thread that is free"
    hung.set()
    effects.close()


def a_case(action: Action) -> ActionContext:
    return ActionContext(action, LedgerExecutor(), None, None, 0, {}, {})  # type: ignore[arg-type]


def a_run_of_two(cast, ledger_type, monkeypatch, meet) -> tuple[Action, list[str], list[datetime]]:
    """Carry a quick step beside a slow one; `meet(real, group)` stands in for the write that has the first receipt."""
    tried, ends, real, met = [], [], commit.commit, []

    def before(ctx):
        cell = ctx.step["spec"]["cell"]
        tried.append(cell)
        if cell == "cell-2":
            time.sleep(1.2)
            ends.append(datetime.now(UTC))

    def once(group):
        if not met and any(c.kind == "receipt" for w in group for c in w.journal_entries):
            met.append(True)
            return meet(real, group)
        return real(group)

    ledger_type.before = before
    monkeypatch.setattr(runners, "commit", once)
    parameters = {"steps": 2, "after": [[], []], "exclusive": True}
    return carry(propose(cast, type="ledger", parameters=parameters, accept=True)), tried, ends


def test_an_answer_lost_while_another_step_runs_does_not_run_that_step_twice(committed_cast, ledger_type, monkeypatch):
    def arrives_unheard(real, group):
        seqs = [(w.action, w.action.seq) for w in group]
        real(group)
        for snapshot, seq in seqs:  # as when the commit arrives and its answer does not
            snapshot.seq = seq
        raise OperationalError("the connection is gone")

    action, tried, _ = a_run_of_two(committed_cast, ledger_type, monkeypatch, arrives_unheard)
    assert (action.state, sorted(tried)) == ("completed", ["cell-1", "cell-2"])
    ledger = root_of(committed_cast.dev) / ".ledger"
    assert doubles(ledger) == [] and balance(ledger) == {"cell-1": 1, "cell-2": 1}
    assert not ResourceLock.objects.exists()


def test_a_run_that_is_given_up_is_held_once_none_of_its_effects_is_in_the_air(
    committed_cast, ledger_type, monkeypatch
):
    def cannot_be_written(real, group):
        monkeypatch.setattr(runners, "commit", lambda again: fault(real, again))
        raise ValueError("a fault of ours")

    def fault(real, group):
        if any(w.journal_entries for w in group):
            raise ValueError("a fault of ours")
        return real(group)

    action, tried, ends = a_run_of_two(committed_cast, ledger_type, monkeypatch, cannot_be_written)
    assert (action.state, action.held_reason, tried.count("cell-2")) == ("held", "internal_error", 1)
    held = Event.objects.get(subject_id=action.pk, verb="action.hold")
    assert ends and held.at >= ends[0]
    assert ResourceLock.objects.filter(action=action, held=True).count() == 2, "it is a person's turn, nobody else's"
