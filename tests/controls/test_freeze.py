"""The operator's switch: nothing starts, what runs is held at its next checkpoint, and exactly that goes on again."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from actions.commands import freeze, rollback, stop_resume
from actions.controls import freeze as controls_freeze
from actions.engine import dequeue, sweep
from actions.engine import runner as runners
from actions.engine.runner import Runner
from actions.engine.sweep import waiting_queues
from actions.errors import NotAllowed, WrongState
from actions.lifecycle.commit import commit
from actions.lifecycle.transitions import Transition
from actions.models import Action, ConcurrencyLimit, Freeze, JournalEntry, ResourceLock
from actions.types import registry
from actions.types.protocol import Outcome
from audit.errors import Invalid, NotFound
from audit.models import Event
from tests.actions.factory import a_running_lease, an_action, propose, root_of
from tests.actions.running import carry, verbs_of
from tests.run.scripted import BUSY, asked, scripted, workers
from tests.support.ledger_executor import LedgerExecutor, balance
from tests.support.processes import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


class Told(LedgerExecutor):
    """Does something else in the middle of a step, once."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile = lambda step: None

    def apply(self, ctx):
        told, outcome = [], super().apply(ctx)
        other = threading.Thread(target=lambda: (told.append(self.meanwhile(ctx.step["key"][:3])), connection.close()))
        other.start()
        other.join()
        return outcome


@pytest.fixture
def told():
    with registry.register_executor(Told()) as executor:
        yield executor


def proposed(cast, **more) -> Action:
    parameters = {"steps": 3, "exclusive": True, **more}
    return propose(cast, type="ledger", parameters=parameters, accept=True)


def throw(cast, slug="dev"):
    return freeze.freeze(cast.access("operator"), slug, "the disk is failing")


def lift(cast, slug="dev"):
    return freeze.unfreeze(cast.access("operator"), slug, "a new disk is in")


def during(executor, step: str, do) -> None:
    done = []
    executor.meanwhile = lambda key: None if key != step or done else done.append(do())


def test_while_it_is_set_nothing_starts_and_afterwards_it_does(committed_cast, told):
    throw(committed_cast)
    action = carry(proposed(committed_cast))
    assert (action.state, action.lease_id) == ("approved", None) and "execute" not in waiting_queues()
    said = committed_cast.client("operator").get(f"/api/actions/{action.pk}").json()["blocked_by"]
    assert len(said) == 1 and said[0].startswith("dev is frozen by ") and said[0].endswith("the disk is failing")
    assert lift(committed_cast) == 0
    assert carry(action).state == "completed"


def test_a_run_is_held_at_its_next_checkpoint_and_goes_on_from_there(committed_cast, told):
    during(told, "001", lambda: throw(committed_cast))
    action = carry(proposed(committed_cast))
    assert (action.state, action.held_reason, action.steps_done) == ("held", "freeze", 1)
    assert "action.freeze_requested" in verbs_of(action)
    assert ResourceLock.objects.filter(action=action, held=True).count() == 3
    other = an_action(committed_cast, "held", started_at=Now(), held_reason="operator")
    assert lift(committed_cast) == 1
    assert Action.objects.get(pk=other.pk).state == "held", "a person held that one"
    assert carry(action).state == "completed"
    assert balance(root_of(committed_cast.dev) / ".ledger") == {f"cell-{n}": 1 for n in (1, 2, 3)}


def test_a_run_that_nobody_could_ask_sees_the_switch_in_its_next_write(committed_cast, told, monkeypatch):
    """It began in the very moment: its start was not there when runs were asked to stop."""
    monkeypatch.setattr(freeze, "stop_frozen_runs", lambda *places: 0)
    during(told, "001", lambda: throw(committed_cast))
    action = carry(proposed(committed_cast))
    assert (action.state, action.held_reason, action.steps_done) == ("held", "freeze", 1)
    lines = JournalEntry.objects.filter(action=action).values_list("kind", flat=True)
    assert list(lines) == ["intent", "receipt"], "no other step was begun"


def test_a_start_that_meets_the_switch_leaves_no_claim_and_waits(committed_cast, told, monkeypatch):
    action = proposed(committed_cast)
    decide = Runner("decide")
    decide.drain(), decide.stop()
    real = dequeue.load_contexts

    def thrown_after_the_claim(*given):
        if not Freeze.objects.exists():
            throw(committed_cast)
        return real(*given)

    monkeypatch.setattr(runners, "load_contexts", thrown_after_the_claim)
    action = carry(action)
    assert (action.state, action.lease_id, action.started_at) == ("approved", None, None)
    assert not ResourceLock.objects.exists() and not JournalEntry.objects.filter(action=action).exists()
    lift(committed_cast)
    assert carry(action).state == "completed"


def test_a_rollback_is_held_before_its_next_step_and_goes_on_backward(committed_cast, told):
    during(told, "003", lambda: throw(committed_cast))
    action = carry(proposed(committed_cast, fail_at=3))
    assert (action.state, action.held_reason) == ("held", "freeze")
    lift(committed_cast)
    assert carry(action).state == "rolled_back"
    assert balance(root_of(committed_cast.dev) / ".ledger") == {}


def test_a_rollback_under_way_is_held(committed_cast, told, monkeypatch):
    undone = []

    def compensate(ctx, real=LedgerExecutor.compensate):
        outcome = real(told, ctx)
        if not undone:
            undone.append(ctx.step["key"])
            other = threading.Thread(target=lambda: (throw(committed_cast), connection.close()))
            other.start()
            other.join()
        return outcome

    monkeypatch.setattr(told, "compensate", compensate)
    action = carry(proposed(committed_cast, fail_at=3))
    assert (action.state, action.held_reason) == ("held", "freeze") and undone == ["002:cell-2"]
    lift(committed_cast)
    assert Action.objects.get(pk=action.pk).state == "rolling_back"
    assert carry(action).state == "rolled_back"


def test_a_step_that_waits_to_be_tried_again_is_held_at_once_and_tried_again_afterwards(committed_cast):
    patient = {"delay_s": 120, "max_delay_s": 120}
    with scripted(recovery=patient, fails={2: [BUSY, Outcome(True)]}) as executor, workers() as (decide, execute):
        action = asked(committed_cast)
        decide.drain()
        failed = Event.objects.filter(subject_id=action.pk, verb="step.failed")
        working = threading.Thread(target=lambda: (execute.drain(), connection.close()))
        working.start()
        wait_for(failed.exists, 20, "the first try of step 2")
        throw(committed_cast)
        working.join(20)
        held = carry(action)  # its worker may have let go of it, for as long as it rests
        assert (held.state, held.held_reason, executor.tries[2]) == ("held", "freeze", 1)
        lift(committed_cast)
        assert (carry(action).state, executor.tries) == ("completed", {1: 1, 2: 2, 3: 1})


def test_a_run_whose_worker_died_is_taken_up_and_held_without_another_effect(committed_cast, told):
    """The step that it left open is probed; as it was not done, it is not done now either."""
    during(told, "001", lambda: None)
    action = proposed(committed_cast)
    with workers() as (decide, _):
        decide.drain()
    begun = Action.objects.select_related("plan").get(pk=action.pk)
    lost = a_running_lease()
    Action.objects.filter(pk=action.pk).update(lease=lost)
    begun.refresh_from_db()
    step = begun.plan.steps[0]["key"]
    intent = JournalEntry(action=begun, plan=begun.plan, step=step, attempt=1, kind="intent", lease=lost.pk)
    assert commit([Transition(begun, "start", lease=lost.pk, journal_entries=[intent])])
    throw(committed_cast)
    Action.objects.filter(pk=action.pk).update(lease=None)
    assert (carry(action).state, balance(root_of(committed_cast.dev) / ".ledger")) == ("held", {})
    lift(committed_cast)
    assert carry(action).state == "completed"


def test_what_is_held_a_moment_after_the_switch_was_lifted_goes_on_with_the_sweep(committed_cast, told):
    during(told, "001", lambda: (throw(committed_cast), lift(committed_cast)))
    action = carry(proposed(committed_cast))
    assert (action.state, action.held_reason) == ("held", "freeze")
    sweep.repair_freezes()
    assert carry(action).state == "completed"


def test_where_a_cap_has_no_room_for_all_that_was_held_the_others_follow(committed_cast):
    ConcurrencyLimit.objects.create(tenant=committed_cast.acme, environment=committed_cast.dev, most=1)
    held = [an_action(committed_cast, "held", started_at=Now(), held_reason="freeze") for _ in range(3)]
    throw(committed_cast)
    assert lift(committed_cast) == 1
    sweep.repair_freezes()
    states = Action.objects.filter(pk__in=[a.pk for a in held]).order_by("pk").values_list("state", flat=True)
    assert list(states) == ["in_progress", "held", "held"]
    commit([Transition(Action.objects.get(pk=held[0].pk), "fail")])
    sweep.repair_freezes()
    assert list(states.all()) == ["failed", "in_progress", "held"]


def test_while_it_is_set_nobody_resumes_or_rolls_back_what_it_holds(committed_cast, told):
    during(told, "001", lambda: throw(committed_cast))
    action = carry(proposed(committed_cast))
    for call in (stop_resume.resume, rollback.rollback):
        with pytest.raises(WrongState) as refused:
            call(committed_cast.access("operator"), action.pk, "now")
        assert "dev is frozen" in refused.value.detail
    assert stop_resume.resume(committed_cast.access("operator"), action.pk, "leave it", how="give_up").state == "failed"


def test_only_who_operates_the_place_says_so_and_says_why(committed_cast):
    for who in ("approver", "auditor", "security"):
        with pytest.raises(NotAllowed):
            freeze.freeze(committed_cast.access(who), "dev", "because")
    with pytest.raises(NotFound):
        freeze.freeze(committed_cast.access("outsider"), "dev", "because")
    with pytest.raises(Invalid):
        freeze.freeze(committed_cast.access("operator"), "dev", "  ")
    with pytest.raises(WrongState):
        lift(committed_cast)
    throw(committed_cast)
    with pytest.raises(WrongState):
        throw(committed_cast)
    assert controls_freeze.freeze_of(committed_cast.prod) is None


def test_both_leave_an_event_on_the_environment_with_the_reason_erasable(committed_cast):
    throw(committed_cast)
    lift(committed_cast)
    events = Event.objects.filter(subject_kind="environment", subject_id=committed_cast.dev.pk).order_by("seq")
    assert [e.verb for e in events] == ["environment.frozen", "environment.unfrozen"]
    for event in events:
        assert "disk" not in json.dumps(json.loads(bytes(event.body)))


@pytest.mark.postgresql
def test_whatever_starts_in_the_moment_of_the_switch_is_held_at_its_first_checkpoint_or_never_starts(
    committed_cast, told
):
    """Starts and the switch race freely; then every run that began is carried on, and none gets beyond a step."""
    for _ in range(5):
        actions = [propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True) for _ in range(6)]
        decide = Runner("decide")
        decide.drain(), decide.stop()
        ready = threading.Barrier(2)

        def work(ready=ready) -> None:
            runner = Runner("execute")
            try:
                ready.wait()
                runner.drain()
            finally:
                runner.stop()
                connection.close()

        worker = threading.Thread(target=work)
        worker.start()
        ready.wait()
        thrown = throw(committed_cast)
        worker.join()
        for action in Action.objects.filter(pk__in=[a.pk for a in actions]):
            assert action.state in ("approved", "held", "completed")
            late = JournalEntry.objects.filter(action=action, kind="intent", at__gt=thrown.since).count()
            assert late <= 1, "at most the write that was under way"
        lift(committed_cast)
        sweep.repair_freezes()
        carry(actions[0])
        assert set(Action.objects.filter(pk__in=[a.pk for a in actions]).values_list("state", flat=True)) == {
            "completed"
        }


def test_a_write_that_begins_nothing_is_let_through(committed_cast):
    running = an_action(committed_cast, "verifying", started_at=Now() - timedelta(seconds=5))
    throw(committed_cast)
    assert commit([Transition(running, "complete", sets={"result": {}})])
