"""Skip and fallback: a step left out, a step that stands in, an action proposed in place of one that failed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions.commands import rollback
from actions.engine.sweep import propose_fallbacks
from actions.errors import BadSubmission
from actions.models import Action, CircuitBreaker, JournalEntry
from actions.preflight.step_graph import order_steps
from actions.types.protocol import Draft, Outcome, PlanRefused
from audit.models import Event
from tenants.models import Principal
from tests.actions.factory import root_of
from tests.actions.running import carry, verbs_of
from tests.run.scripted import BUSY, asked, run, scripted, states
from tests.support.ledger_executor import balance, doubles, read_ledger

pytestmark = pytest.mark.django_db(transaction=True)
ODD = Outcome(False, "odd", "Strange.")
SKIP, FALL_BACK = {"strategies": {"odd": "skip"}}, {"strategies": {"odd": "fallback"}}


@pytest.fixture
def ledger(committed_cast):
    return root_of(committed_cast.dev) / ".ledger"


def test_a_skipped_step_is_named_and_what_comes_after_it_goes_on(committed_cast, ledger):
    with scripted(fails={2: [ODD]}):
        action = run(committed_cast, recovery=SKIP)
    assert action.state == "completed"
    assert (action.result["skipped"], action.steps_done) == (["002:cell-2"], 3)
    assert states(action) == {1: "receipt", 2: "skip", 3: "receipt"}
    assert balance(ledger) == {"cell-1": 1, "cell-3": 1}
    assert "step.skipped" in verbs_of(action)


def test_a_step_that_may_not_be_left_out_is_not(committed_cast, ledger):
    with scripted(fails={2: [ODD]}, shape={2: {"may_skip": False}}):
        action = run(committed_cast, recovery=SKIP)
    assert (action.state, action.error["code"]) == ("rolled_back", "odd")
    assert balance(ledger) == {}


def test_no_return_begins_after_what_was_stood_in_for_but_not_after_what_was_left_out(committed_cast, ledger):
    final = {"compensation": {"kind": "irreversible", "title": ""}}
    with scripted(fails={2: [ODD]}, shape={3: {"fallback_for": 2}, 4: final}):
        assert run(committed_cast, steps=4, recovery=FALL_BACK).state == "completed"
    ledger.unlink()
    with scripted(fails={2: [ODD]}, shape={3: final}):
        assert run(committed_cast, recovery=SKIP).state == "rolled_back"
    assert balance(ledger) == {}


def test_an_undo_leaves_alone_what_was_left_out(committed_cast, ledger):
    with scripted(fails={2: [ODD]}):
        action = run(committed_cast, recovery=SKIP)
        undo, _ = rollback.rollback(committed_cast.access("operator"), action.pk, "Undo it.")
        undo = carry(undo)
        assert [s["target"] for s in undo.plan.steps] == ["cell-3", "cell-1"]


def test_a_step_stands_in_for_one_that_failed(committed_cast, ledger):
    with scripted(fails={2: [ODD]}, shape={3: {"fallback_for": 2}}):
        action = run(committed_cast, steps=4, recovery=FALL_BACK)
    assert (action.state, action.steps_total, action.steps_done) == ("completed", 3, 3)
    assert [e["cell"] for e in read_ledger(ledger)] == ["cell-1", "cell-3", "cell-4"]
    assert action.result["left_out"] == ["002:cell-2"] and action.result["skipped"] == []


def test_a_step_that_stands_in_does_nothing_while_it_is_not_needed(committed_cast, ledger):
    with scripted(shape={3: {"fallback_for": 2}}):
        action = run(committed_cast, steps=4, recovery=FALL_BACK)
    assert (action.state, action.steps_total, action.steps_done) == ("completed", 3, 3)
    assert [e["cell"] for e in read_ledger(ledger)] == ["cell-1", "cell-2", "cell-4"]


def test_what_stood_in_is_undone_with_the_rest(committed_cast, ledger):
    with scripted(fails={2: [ODD], 4: [Outcome(False, "bad", "No.")]}, shape={3: {"fallback_for": 2}}):
        action = run(committed_cast, steps=4, recovery=FALL_BACK)
    assert (action.state, action.error["code"]) == ("rolled_back", "bad")
    assert balance(ledger) == {} and doubles(ledger) == []
    assert [(e["verb"], e["cell"]) for e in read_ledger(ledger)][-2:] == [("undo", "cell-3"), ("undo", "cell-1")]


def test_what_stands_in_may_fail_and_be_stood_in_for(committed_cast, ledger):
    shape = {3: {"fallback_for": 2}, 4: {"fallback_for": 3}}
    with scripted(fails={2: [ODD], 3: [ODD]}, shape=shape):
        action = run(committed_cast, steps=5, recovery=FALL_BACK)
    assert (action.state, action.steps_total, action.steps_done) == ("completed", 3, 3)
    assert balance(ledger) == {f"cell-{n}": 1 for n in (1, 4, 5)}
    with scripted(fails={2: [ODD], 3: [Outcome(False, "bad", "No.")]}, shape=shape):
        action = run(committed_cast, steps=5, recovery=FALL_BACK, parameters={"cells": [11, 12, 13, 14, 15]})
    assert (action.state, action.error["code"]) == ("rolled_back", "bad")


@st.composite
def programs(draw):
    """A graph with steps that stand in, and steps that fail with a code of some strategy."""
    count = draw(st.integers(2, 6))
    after = [sorted(draw(st.sets(st.integers(1, n), max_size=2))) if n else [] for n in range(count)]
    stands = {n: draw(st.integers(1, n - 1)) for n in draw(st.sets(st.integers(2, count), max_size=2))}
    stands = {n: k for n, k in stands.items() if list(stands.values()).count(k) == 1}
    after = [[k for k in ks if k not in stands] for ks in after]
    fails = draw(st.dictionaries(st.integers(1, count), st.sampled_from(["skip", "fallback", "abort"]), max_size=3))
    return after, stands, fails


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs())
def test_whatever_fails_and_whatever_is_done_about_it_all_or_what_was_left_out_remains(committed_cast, ledger, example):
    after, stands, fails = example
    CircuitBreaker.objects.all().delete()
    if ledger.exists():
        ledger.unlink()
    outcomes = {n: [Outcome(False, f"to_{strategy}", "No.")] for n, strategy in fails.items()}
    said = {f"to_{s}": s for s in ("skip", "fallback", "abort")}
    shape = {n: {"fallback_for": k} for n, k in stands.items()}
    with scripted(fails=outcomes, shape=shape, error_strategies=said):
        action = run(committed_cast, steps=len(after), parameters={"after": after})
    assert doubles(ledger) == []
    ends = states(action)
    if action.state == "completed":
        assert balance(ledger) == {f"cell-{n}": 1 for n, end in ends.items() if end == "receipt"}
        assert action.steps_done == action.steps_total == len(after) - len(stands)
    else:
        assert action.state in ("failed", "rolled_back"), (action.held_reason, action.error, ends, verbs_of(action))
        assert balance(ledger) == {}


def test_orders_with_steps_that_stand_in_for_others():
    steps = [{"key": "a"}, {"key": "b"}, {"key": "b2", "fallback_for": "b"}, {"key": "c"}]
    listed = order_steps(Draft([], [], steps))
    assert [(s["key"], s["after"]) for s in listed] == [("a", []), ("b", ["a"]), ("b2", ["a"]), ("c", ["b"])]
    graph = [{"key": "a"}, {"key": "c", "after": ["a"]}, {"key": "a2", "fallback_for": "a"}]
    assert [s["key"] for s in order_steps(Draft([], [], graph, order="graph"))] == ["a", "a2", "c"]
    for bad, words in (
        ([{"key": "x", "fallback_for": "y"}], "does not come before it"),
        ([{"key": "a"}, {"key": "x", "fallback_for": "a"}, {"key": "y", "fallback_for": "a"}], "More than one"),
        (
            [{"key": "a"}, {"key": "x", "fallback_for": "a"}, {"key": "y", "after": ["x"]}],
            "name the step",
        ),
    ):
        with pytest.raises(PlanRefused, match=words):
            order_steps(Draft([], [], bad, order="graph"))


REPAIR = {"type": "ledger", "parameters": {"steps": 1, "cells": [9]}, "title": "Plan B", "accept": True}


def test_an_action_is_proposed_once_the_first_has_gone_back(committed_cast, ledger):
    with scripted(fails={2: [ODD]}) as executor:
        first = run(committed_cast, recovery={**FALL_BACK, "fallback": REPAIR}, ticket="T-1")
        assert (first.state, first.fallback_due, balance(ledger)) == ("rolled_back", True, {})
        assert (propose_fallbacks(), propose_fallbacks()) == (1, 0)
        executor.fails = {}
        second = carry(Action.objects.get(fallback_of=first))
    assert (second.state, second.title, second.requester, second.ticket) == (
        "completed",
        "Plan B",
        first.requester,
        "T-1",
    )
    assert second.correlation_id == first.correlation_id
    assert balance(ledger) == {"cell-9": 1}
    assert "action.fallback_proposed" in verbs_of(first)
    assert not Action.objects.get(pk=first.pk).fallback_due


def test_a_fallback_goes_through_the_gate_like_any_other(committed_cast):
    with scripted(fails={1: [ODD]}):
        first = run(committed_cast, recovery={**FALL_BACK, "fallback": {**REPAIR, "accept": False}})
        propose_fallbacks()
        second = carry(Action.objects.get(fallback_of=first))
    assert (first.state, second.state) == ("failed", "awaiting_approval")


def test_a_fallback_of_somebody_who_may_no_longer_propose_it_is_refused_in_words(committed_cast):
    with scripted(fails={1: [ODD]}):
        first = run(committed_cast, recovery={**FALL_BACK, "fallback": REPAIR})
        Principal.objects.filter(pk=first.requester_id).update(is_active=False)
        assert propose_fallbacks() == 0
    assert not Action.objects.filter(fallback_of=first).exists()
    event = Event.objects.get(subject_id=first.pk, verb="action.fallback_refused")
    assert event.outcome == "failed"
    assert not Action.objects.get(pk=first.pk).fallback_due


def test_no_fallback_after_another_error_or_a_person_s_stop(committed_cast):
    with scripted(fails={1: [Outcome(False, "bad", "No.")]}):
        first = run(committed_cast, recovery={**FALL_BACK, "fallback": REPAIR})
    assert (first.state, first.fallback_due) == ("failed", False)


@pytest.mark.parametrize(
    ("recovery", "field"),
    [
        ({"fallback": REPAIR}, "recovery.fallback"),
        ({**FALL_BACK, "fallback": {"type": "no_such"}}, "recovery.fallback.type"),
        (
            {**FALL_BACK, "fallback": {"type": "ledger", "parameters": {"steps": 0}}},
            "recovery.fallback.parameters.steps",
        ),
        (
            {**FALL_BACK, "fallback": {"type": "ledger", "parameters": {"steps": 1, "fail_at": 2}}},
            "recovery.fallback.parameters.fail_at",
        ),
        ({**FALL_BACK, "fallback": {**REPAIR, "checks": [{"kind": "pray"}]}}, "recovery.fallback.checks.0"),
        ({"delay_s": 9, "max_delay_s": 3}, "recovery.delay_s"),
        ({"strategies": {"odd": "hope"}}, "recovery.strategies.odd"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_by_field(committed_cast, recovery, field):
    with scripted(), pytest.raises(BadSubmission) as refused:
        asked(committed_cast, recovery=recovery)
    assert field in {i["field"] for i in refused.value.extra["issues"]}


def test_a_crash_after_a_step_gave_way_goes_on_with_what_stands_in(committed_cast, ledger):
    """What a worker left that died between the failure and the step that stands in: nothing but the ledger knows."""
    with scripted(fails={2: [ODD]}, shape={3: {"fallback_for": 2}}):
        action = run(committed_cast, steps=4, recovery=FALL_BACK)
        facts = {"code": "odd", "probe": "not_done", "strategy": "fallback", "why": "policy"}
        JournalEntry.objects.filter(action=action).delete()
        Action.objects.filter(pk=action.pk).update(state="in_progress", lease=None, completed_at=None, result=None)
        for step, kind, said in (
            ("001:cell-1", "intent", {}),
            ("001:cell-1", "receipt", {}),
            ("002:cell-2", "intent", {}),
            ("002:cell-2", "failure", facts),
        ):
            JournalEntry.objects.create(
                action=action,
                plan=action.plan,
                step=step,
                attempt=1,
                kind=kind,
                lease=0,
                at=action.created_at,
                facts=said,
            )
        action = carry(action)
    assert states(action) == {1: "receipt", 2: "failure", 3: "receipt", 4: "receipt"}


def test_what_may_help_is_still_tried_again_before_anything_else(committed_cast):
    with scripted(fails={2: [BUSY, Outcome(True)]}, shape={3: {"fallback_for": 2}}) as executor:
        action = run(committed_cast, steps=3, recovery=FALL_BACK)
    assert (action.state, executor.tries[2], executor.tries[3]) == ("completed", 2, 0)
