"""Retries: as often and as late as the plan says, in nobody's thread, and never more than the budgets allow."""

import threading

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from actions.commands import propose, rollback, stop_resume
from actions.controls import limits
from actions.controls.worker_queues import wake_up
from actions.errors import BadSubmission
from actions.models import Action, JournalEntry, RetryBudget
from actions.run import retry
from actions.run import steps as run_steps
from actions.types.protocol import Outcome
from audit.models import Event
from tests.actions.factory import propose as factory_propose
from tests.actions.factory import root_of
from tests.actions.running import verbs_of
from tests.run.scripted import BUSY, asked, run, scripted, workers
from tests.support.ledger_executor import balance, doubles
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
LATER = {"delay_s": 600, "max_delay_s": 600}


@pytest.fixture
def ledger(committed_cast):
    return root_of(committed_cast.dev) / ".ledger"


def last_facts(action, kind):
    return JournalEntry.objects.filter(action=action, kind=kind).latest("id").facts


def test_a_step_is_tried_as_often_as_the_plan_says(committed_cast, ledger):
    with scripted(fails={2: [BUSY]}) as executor:
        action = run(committed_cast, recovery={"max_attempts": 2})
    assert (action.state, action.error["code"], executor.tries[2]) == ("rolled_back", "busy", 2)
    assert last_facts(action, "failure")["why"] == "attempts"
    assert balance(ledger) == {} and doubles(ledger) == []
    with scripted(fails={2: [BUSY, BUSY, Outcome(True)]}) as executor:
        action = run(committed_cast)
    assert (action.state, executor.tries[2]) == ("completed", 3)


def test_a_policy_is_part_of_what_is_approved(committed_cast):
    with scripted():
        one, other = run(committed_cast), run(committed_cast, recovery={"max_attempts": 4})
    assert one.plan.digest != other.plan.digest
    assert (one.plan.recovery["max_attempts"], other.plan.recovery["max_attempts"]) == (3, 4)


def test_the_type_decides_by_code_and_a_person_within_its_bounds(committed_cast):
    odd = Outcome(False, "odd", "Strange.")
    with scripted(fails={1: [odd, Outcome(True)]}, error_strategies={"odd": "retry"}):
        assert run(committed_cast).state == "completed"
    with scripted(fails={1: [odd, Outcome(True)]}, error_strategies={"odd": "retry"}):
        assert run(committed_cast, recovery={"strategies": {"odd": "abort"}}).state == "failed"
    with scripted(error_strategies={"odd": "abort"}), pytest.raises(BadSubmission) as refused:
        run(committed_cast, recovery={"strategies": {"odd": "retry"}, "max_attempts": 11, "tries": 1})
    assert {i["field"] for i in refused.value.extra["issues"]} == {"recovery.max_attempts", "recovery"}


def test_a_wait_holds_no_thread_and_nobody_else_up(committed_cast, monkeypatch):
    monkeypatch.setattr(retry, "random_wait_s", lambda policy, attempts: 1.0)
    with scripted(fails={1: [BUSY, Outcome(True)]}), workers() as (decide, execute):
        slow = asked(committed_cast, steps=1)
        decide.drain()
        execute.drain()
        lines = list(JournalEntry.objects.filter(action=slow).order_by("id"))
    assert [str(line.kind) for line in lines] == ["intent", "failure", "intent", "receipt"]
    assert (lines[3].at - lines[1].at).total_seconds() >= 0.9
    assert lines[2].facts["wait_s"] == 1.0


def test_a_long_wait_is_in_nobody_s_hands_and_an_abort_ends_it(committed_cast, ledger):
    with scripted(fails={2: [BUSY, BUSY, Outcome(True)]}) as executor, workers() as (decide, execute):
        waits = asked(committed_cast, steps=2, recovery=LATER)
        decide.drain(), execute.drain()
        waits.refresh_from_db()
        assert (waits.state, waits.lease_id, executor.tries[2]) == ("in_progress", None, 1)
        assert waits.wake_at is not None and waits.wake_at > timezone.now()
        assert execute.drain() == 0, "its time has not come"
        Action.objects.update(wake_at=Now())
        JournalEntry.objects.filter(action=waits, kind="intent", attempt=2).update(facts={})
        assert execute.drain() == 1
        assert executor.tries[2] == 2
        stop_resume.abort(committed_cast.access("operator"), waits.pk, "Enough.")
        assert execute.drain() == 1
    assert (state_of(waits), executor.tries[2]) == ("rolled_back", 2)
    assert balance(ledger) == {} and doubles(ledger) == []


def test_others_run_during_a_wait_and_an_abort_cuts_it_short(committed_cast, ledger, monkeypatch):
    monkeypatch.setattr(retry, "random_wait_s", lambda policy, attempts: run_steps.MAX_HELD_WAIT_S)
    with scripted(fails={2: [BUSY]}), workers() as (decide, execute):
        waits = asked(committed_cast, steps=2)
        decide.drain()
        beside = threading.Thread(target=drained, args=(execute,))
        beside.start()
        wait_for(lambda: tried(waits) == 2, 15, "the state that the run comes to")
        record = JournalEntry.objects.filter(action=waits, kind="intent").latest("id")
        assert record.facts["wait_s"] > 0 and record.facts["retry_at"] > timezone.now().isoformat()
        other = asked(committed_cast, steps=1, parameters={"cells": [8]})
        other_done(decide, other)
        stop_resume.abort(committed_cast.access("operator"), waits.pk, "Enough.")
        beside.join(20)
    assert not beside.is_alive()
    assert state_of(other) == "completed"
    assert state_of(waits) == "rolled_back"
    assert balance(ledger) == {"cell-8": 1}


def drained(runner):
    try:
        runner.drain()
    finally:
        connection.close()


def other_done(decide, action):
    decide.drain()
    wake_up("execute")
    wait_for(lambda: state_of(action) == "completed", 15, "the state that the run comes to")


def state_of(action) -> str:
    return Action.objects.values_list("state", flat=True).get(pk=action.pk)


def tried(action) -> int:
    return JournalEntry.objects.filter(action=action, kind="intent", step__startswith="002").count()


def test_a_stopping_worker_hands_the_wait_over(committed_cast, ledger, monkeypatch):
    monkeypatch.setattr(retry, "random_wait_s", lambda policy, attempts: 2.0)
    with scripted(fails={1: [BUSY, Outcome(True)]}) as executor:
        with workers() as (decide, execute):
            action = asked(committed_cast, steps=1)
            decide.drain()
            beside = threading.Thread(target=drained, args=(execute,))
            beside.start()
            wait_for(
                lambda: JournalEntry.objects.filter(action=action, kind="failure").exists(),
                15,
                "the state that the run comes to",
            )
            execute.halt.set()
            beside.join(10)
        assert Action.objects.get(pk=action.pk).lease_id is None
        assert executor.tries[1] == 1
        with workers("execute") as (heir,):
            heir.drain()
    assert state_of(action) == "completed" and executor.tries[1] == 2
    failed, done = (JournalEntry.objects.get(action=action, kind=kind) for kind in ("failure", "receipt"))
    assert (done.at - failed.at).total_seconds() >= 1.8, "whoever takes it over waits for the rest"
    assert balance(ledger) == {"cell-1": 1}


def test_no_retry_begins_that_could_not_end_in_time(committed_cast):
    with scripted(fails={1: [BUSY]}) as executor:
        action = run(committed_cast, recovery={"delay_s": 600, "max_delay_s": 600}, timeout_s=1)
    assert (action.state, executor.tries[1]) == ("failed", 1)
    assert last_facts(action, "failure")["why"] == "no_time"


def test_the_retries_of_one_action_are_bounded_over_all_its_steps(committed_cast, monkeypatch):
    monkeypatch.setattr(retry, "MAX_RETRIES", 3)
    with scripted(fails={n: [BUSY, BUSY, Outcome(True)] for n in range(1, 5)}) as executor:
        action = run(committed_cast, steps=4)
    assert action.error["code"] == "retry_budget"
    assert action.error["details"]["cause"] == "busy"
    assert sum(executor.tries.values()) - len(executor.tries) == 3
    assert action.state == "rolled_back"


def test_the_retries_at_one_target_are_bounded_whoever_asks(committed_cast, monkeypatch):
    monkeypatch.setattr(limits, "TOKENS", 4)
    monkeypatch.setattr("actions.controls.circuit_breaker.FAILURES_TO_OPEN", 1_000)
    with scripted(fails={1: [BUSY]}) as executor, workers() as (decide, execute):
        storm = [asked(committed_cast, steps=1, recovery={"max_attempts": 10}) for _ in range(6)]
        decide.drain(), execute.drain()
    ended = Action.objects.filter(pk__in=[a.pk for a in storm])
    assert executor.tries[1] == len(storm) + 4, "one attempt each, and the target's four retries"
    assert {a.error["code"] for a in ended} == {"retry_budget"}
    bucket = RetryBudget.objects.get()
    RetryBudget.objects.update(at=bucket.at - limits.REFILL_TIME)
    assert limits.take_token(storm[0], {"target": "cell-1", "key": "x"}), "tokens come back with time"
    RetryBudget.objects.update(at=bucket.at - 2 * limits.REFILL_TIME)
    limits.delete_full()
    assert not RetryBudget.objects.exists()


def test_what_does_not_fail_asks_neither_budget_nor_breaker(committed_cast):
    with scripted():
        run(committed_cast)
    assert not RetryBudget.objects.exists()
    assert not Event.objects.filter(subject_kind="breaker").exists()


def test_a_step_in_doubt_is_never_tried_again(committed_cast):
    with scripted(fails={1: [BUSY]}) as executor:
        action = run(committed_cast, parameters={"blind": True}, recovery={"strategies": {"busy": "retry"}})
    assert (action.state, action.held_reason, executor.tries[1]) == ("held", "in_doubt", 1)


def test_a_proposal_again_keeps_the_policy_and_an_undo_does_not(committed_cast):
    with scripted():
        action = run(committed_cast, recovery={"max_attempts": 7})
        access = committed_cast.access("operator")
        assert propose.retry(access, action.pk, "again").recovery == {"max_attempts": 7}
        assert rollback.rollback(access, action.pk, "undo")[0].recovery == {}
    assert "action.submitted" in verbs_of(action)


def test_a_secret_in_a_policy_is_refused(committed_cast):
    fallback = {
        "type": "modify_files",
        "parameters": {"changes": [{"path": "a", "operation": "create", "content": "id = AKIA" + "ABCDEFGH2345WXYZ"}]},
    }
    with pytest.raises(BadSubmission) as refused:
        factory_propose(committed_cast, parameters={"changes": []}, recovery={"fallback": fallback})
    assert any(i["field"].startswith("recovery.fallback") for i in refused.value.extra["issues"])
