"""Circuit breakers: opened by failures that lie at the target, seen by all workers, tried by one, reset by a person."""

from datetime import timedelta

import pytest
from django.db import InterfaceError
from django.db.models.functions import Now

from actions.controls import circuit_breaker
from actions.controls.blockers import find_blockers
from actions.controls.circuit_breaker import find_breaker, reset_breaker
from actions.engine.sweep import sweep_all
from actions.errors import NotAllowed, WrongState
from actions.models import Action, CircuitBreaker
from actions.types.protocol import Outcome
from audit.errors import NotFound
from audit.models import Event
from tests.run.scripted import BUSY, asked, run, scripted, workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]
DOWN = Outcome(False, "http_503", "The target answers 503.", retryable=True)
NEVER = {"max_attempts": 1}


def swept() -> None:
    sweep_all(lambda queue, **more: None)


def fail(cast, times: int, **more) -> list[Action]:
    """Actions that fail one after the other, a single attempt each."""
    return [run(cast, steps=1, recovery=NEVER, **more) for _ in range(times)]


def time_is_over() -> None:
    CircuitBreaker.objects.filter(state="open").update(open_until=Now() - timedelta(seconds=1))


def events(verb: str) -> int:
    return Event.objects.filter(subject_kind="breaker", verb=verb).count()


def test_five_failures_open_it_and_nothing_more_begins(committed_cast):
    with scripted(fails={1: [DOWN]}) as executor:
        fail(committed_cast, 5)
        waiting = fail(committed_cast, 3)
        assert executor.tries[1] == 5, "no call more than it takes"
    assert [a.state for a in waiting] == ["approved"] * 3
    breaker = CircuitBreaker.objects.get()
    assert (breaker.state, breaker.failures, breaker.code) == ("open", 5, "http_503")
    assert breaker.open_until is not None and events("breaker.opened") == 1
    shown = Action.objects.select_related("environment").filter(pk=waiting[0].pk)
    (wait,) = find_blockers(shown)[waiting[0].pk]
    assert "ledger is open until" in wait.words and "http_503" in wait.words


def test_a_success_in_between_begins_the_count_anew(committed_cast):
    with scripted(fails={1: [DOWN]}) as executor:
        fail(committed_cast, 4)
        executor.fails = {}
        assert run(committed_cast).state == "completed"
        executor.fails = {1: [DOWN]}
        fail(committed_cast, 4)
    assert CircuitBreaker.objects.get().state == "closed" and CircuitBreaker.objects.get().failures == 4


@pytest.mark.parametrize("code", ["precondition", "policy", "stopped", "content"])
def test_what_does_not_lie_at_the_target_does_not_count(committed_cast, code):
    refusal = Outcome(False, code, "No.", retryable=True)
    with scripted(fails={1: [refusal]}, error_strategies={"content": "abort"}):
        fail(committed_cast, 6)
    assert not CircuitBreaker.objects.exists()


def test_one_is_let_through_and_closes_it_for_all(committed_cast):
    with scripted(fails={1: [DOWN]}) as executor, workers() as (decide, execute):
        fail(committed_cast, 5)
        waiting = [asked(committed_cast, steps=1) for _ in range(3)]
        decide.drain()
        swept(), execute.drain()
        assert executor.tries[1] == 5, "its time is not over"
        time_is_over()
        executor.fails = {}
        swept()
        assert CircuitBreaker.objects.get().state == "half-open"
        assert CircuitBreaker.objects.get().probe_id == waiting[0].pk
        shown = Action.objects.select_related("environment").filter(pk__in=[a.pk for a in waiting])
        assert {pk: w[0].why for pk, w in find_blockers(shown).items()} == {a.pk: "breaker" for a in waiting[1:]}
        execute.drain()
    assert Action.objects.get(pk=waiting[0].pk).state == "completed"
    assert CircuitBreaker.objects.get().state == "closed" and events("breaker.closed") == 1
    with scripted(), workers("execute") as (execute,):
        execute.drain()
    assert set(Action.objects.filter(pk__in=[a.pk for a in waiting]).values_list("state", flat=True)) == {"completed"}


def test_the_one_let_through_that_fails_opens_it_again_for_longer(committed_cast):
    with scripted(fails={1: [DOWN]}) as executor, workers() as (decide, execute):
        fail(committed_cast, 5)
        first_rest = circuit_breaker.open_seconds(CircuitBreaker.objects.get()) / 2
        waiting = [asked(committed_cast, steps=1, recovery=NEVER) for _ in range(3)]
        decide.drain()
        time_is_over(), swept(), execute.drain(), swept(), execute.drain()
    assert executor.tries[1] == 6, "one probe, however many wait"
    breaker = CircuitBreaker.objects.get()
    assert (breaker.state, breaker.openings, events("breaker.opened")) == ("open", 2, 2)
    assert (breaker.open_until - breaker.opened_at).total_seconds() == pytest.approx(2 * first_rest, abs=1)
    assert sum(a.state == "approved" for a in Action.objects.filter(pk__in=[a.pk for a in waiting])) == 2


def test_a_probe_that_ends_without_having_asked_makes_room_for_the_next(committed_cast):
    with scripted(fails={1: [DOWN]}) as executor, workers() as (decide, execute):
        fail(committed_cast, 5)
        waiting = [asked(committed_cast, steps=1) for _ in range(2)]
        decide.drain()
        time_is_over(), swept()
        Action.objects.filter(pk=waiting[0].pk).update(state="cancelled")
        executor.fails = {}
        swept(), execute.drain()
    assert Action.objects.get(pk=waiting[1].pk).state == "completed"
    assert CircuitBreaker.objects.get().state == "closed"


def test_a_run_does_not_try_again_while_it_is_open_what_must_not_be_done_twice(committed_cast):
    with scripted(fails={1: [DOWN]}, shape={1: {"idempotent": False}}) as executor:
        action = run(committed_cast, steps=1, recovery={"max_attempts": 10})
    assert (action.state, executor.tries[1]) == ("failed", 5)
    assert action.error["code"] == "http_503"


def test_a_run_under_way_waits_for_it_where_trying_twice_does_no_harm(committed_cast, monkeypatch):
    monkeypatch.setattr(circuit_breaker, "REST_S", 0.4)
    with scripted(fails={1: [DOWN] * 5 + [Outcome(True)]}) as executor:
        action = run(committed_cast, steps=1, recovery={"max_attempts": 10})
    assert (action.state, executor.tries[1]) == ("completed", 6)
    assert CircuitBreaker.objects.get().state == "closed"


def test_other_targets_and_types_that_only_look_go_on(committed_cast):
    with scripted(fails={1: [DOWN]}) as executor:
        fail(committed_cast, 5)
        executor.fails = {}
        assert run(committed_cast, target={"node": "other"}).state == "completed"
        executor.changes_something = False
        assert run(committed_cast).breaker_key == ""


def test_an_operator_resets_it_with_an_event_and_nobody_else(committed_cast):
    with scripted(fails={1: [DOWN]}) as executor:
        fail(committed_cast, 5)
        (waiting,) = fail(committed_cast, 1)
        breaker, executor.fails = CircuitBreaker.objects.get(), {}
        with pytest.raises(NotAllowed):
            reset_breaker(committed_cast.access("auditor"), breaker.pk, "")
        with pytest.raises(NotFound):
            find_breaker(committed_cast.access("outsider"), breaker.pk)
        assert reset_breaker(committed_cast.access("operator"), breaker.pk, "It is repaired.").state == "closed"
        with pytest.raises(WrongState):
            reset_breaker(committed_cast.access("operator"), breaker.pk, "")
        with workers("execute") as (execute,):
            execute.drain()
    assert Action.objects.get(pk=waiting.pk).state == "completed"
    assert events("breaker.reset") == 1


def test_a_breaker_that_cannot_be_told_is_no_reason_for_a_run_to_fail(committed_cast, monkeypatch):
    def away(*args):
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(circuit_breaker, "_record", away)
    with scripted(fails={1: [BUSY, Outcome(True)]}):
        assert run(committed_cast, steps=1).state == "completed"
