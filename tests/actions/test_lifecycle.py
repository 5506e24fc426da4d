"""The full matrix of states and verbs, the guard, and what a move leaves behind."""

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions.lifecycle.commit import advance, commit
from actions.lifecycle.transitions import MOVES, UNENDED, Note, Transition
from actions.models import Action
from actions.models.states import ENDED, State
from audit.models import Event
from tests.actions.factory import an_action

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]
PAIRS = [(state, verb) for state in State for verb in MOVES]


def events_of(action: Action) -> list[str]:
    return list(Event.objects.filter(subject_id=action.pk).order_by("seq").values_list("verb", flat=True))


@pytest.mark.parametrize(("state", "verb"), PAIRS, ids=[f"{s}-{v}" for s, v in PAIRS])
def test_a_verb_moves_an_action_only_out_of_its_sources(cast, state, verb):
    action = an_action(cast, state)
    more = {"sets": {"held_reason": "operator"}} if verb == "hold" else {}
    moved = advance([action.pk], verb, by="someone", **more)
    now = Action.objects.get(pk=action.pk)
    if state in MOVES[verb].sources:
        assert [a.pk for a in moved] == [action.pk]
        assert (now.state, now.seq) == (MOVES[verb].target, action.seq + 1)
        assert events_of(action) == ["action.submitted", f"action.{verb}"]
        assert (now.completed_at is not None) == (now.state in ENDED)
    else:
        assert moved == []
        assert (now.state, now.seq) == (state, action.seq)
        assert events_of(action) == ["action.submitted"]


@pytest.mark.parametrize(("state", "verb"), [p for p in PAIRS if p[0] not in MOVES[p[1]].sources])
def test_a_write_that_its_state_does_not_allow_is_a_fault_and_stores_nothing(cast, state, verb):
    action = an_action(cast, state)
    with pytest.raises(ValueError, match="does not lead out of"):
        commit([Transition(action, verb)])
    assert Action.objects.get(pk=action.pk).state == state
    assert events_of(action) == ["action.submitted"]


def test_every_unended_state_can_fail_and_no_ended_one_moves_but_failed_rolling_back():
    assert set(MOVES["fail"].sources) == set(UNENDED)
    leaving = {(s, v) for v, m in MOVES.items() for s in m.sources if s in ENDED}
    assert leaving == {(State.FAILED, "roll_back")}


def test_a_stale_snapshot_moves_nothing_and_leaves_no_event(cast):
    action = an_action(cast, State.QUEUED)
    stale = Action.objects.get(pk=action.pk)
    advance([action.pk], "cancel", by="someone")
    assert commit([Transition(stale, "preflight")]) == []
    assert Action.objects.get(pk=action.pk).state == State.CANCELLED
    assert events_of(action) == ["action.submitted", "action.cancel"]


def test_an_event_in_between_voids_a_write_although_the_state_is_the_same(cast):
    action = an_action(cast, State.IN_PROGRESS)
    stale = Action.objects.get(pk=action.pk)
    commit([Transition(action, by="x", notes=[Note("action.abort_requested")], stop=True)])
    assert commit([Transition(stale, "verify")]) == []
    assert Action.objects.get(pk=action.pk).state == State.IN_PROGRESS


def test_a_write_under_a_lease_that_does_not_hold_the_action_sticks_nowhere(cast, a_lease):
    action = an_action(cast, State.IN_PROGRESS)
    assert commit([Transition(action, "verify", lease=a_lease.pk)]) == []
    Action.objects.filter(pk=action.pk).update(lease=a_lease)
    action.refresh_from_db()
    assert len(commit([Transition(action, "verify", lease=a_lease.pk)])) == 1


def test_many_actions_move_in_one_go_and_each_has_its_own_chain(cast):
    actions = [an_action(cast, State.QUEUED) for _ in range(30)]
    gone = actions.pop()
    advance([gone.pk], "cancel", by="someone")
    stuck = commit([Transition(a, "preflight") for a in [*actions, gone] if a is not gone] + [])
    assert {w.action.pk for w in stuck} == {a.pk for a in actions}
    for action in actions:
        last = Event.objects.filter(subject_id=action.pk).latest("seq")
        assert (last.seq, last.verb) == (2, "action.preflight")


def test_a_held_action_must_say_why(cast):
    action = an_action(cast, State.IN_PROGRESS)
    with pytest.raises(IntegrityError), transaction.atomic():
        commit([Transition(action, "hold")])
    assert Action.objects.get(pk=action.pk).state == State.IN_PROGRESS
    assert events_of(action) == ["action.submitted"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(verbs=st.lists(st.sampled_from(sorted(MOVES)), max_size=14))
def test_any_sequence_of_verbs_leaves_one_event_per_move_and_a_known_state(cast, verbs):
    action = an_action(cast, State.QUEUED)
    expected, seq = State.QUEUED, 1
    for verb in verbs:
        more = {"sets": {"held_reason": "operator"}} if verb == "hold" else {}
        moved = advance([action.pk], verb, by="someone", **more)
        if expected in MOVES[verb].sources:
            expected, seq = MOVES[verb].target, seq + 1
            assert moved
        else:
            assert not moved
    now = Action.objects.get(pk=action.pk)
    assert (now.state, now.seq) == (expected, seq)
    assert list(Event.objects.filter(subject_id=action.pk).order_by("seq").values_list("seq", flat=True)) == list(
        range(1, seq + 1)
    )
