"""What is expected of a run, by the verified runs like it, and how it goes by that."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models.functions import Now

from actions.commands.propose import dry_run
from actions.intake.submission import Submission
from actions.lifecycle.allowed import find_action
from actions.lifecycle.prediction_accuracy import PastRun
from actions.models import Action, Plan, PredictionAccuracy
from actions.preflight.duration_estimate import (
    LATE,
    SOON,
    describe_time_left,
    duration_estimate,
    estimate_duration,
    median_and_p90,
)
from actions.queries.action_detail import serialize_action
from tests.actions.factory import propose
from tests.actions.running import carry

pytestmark = pytest.mark.dialect

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def runs(*ms: int, steps: int = 2, verified: bool = True, each=None) -> list[PastRun]:
    return [PastRun(not verified, verified, steps, n, each or [n // 2, n // 2]) for n in ms]


def test_median_and_p90_of_verified_runs_of_as_many_steps():
    past = [*runs(*range(1_000, 11_000, 1_000)), *runs(90_000, steps=3), *runs(80_000, verified=False)]
    found = estimate_duration(past, 2)
    assert (found["runs"], found["median_ms"], found["p90_ms"]) == (10, 5_000, 9_000)
    assert found["steps"] == [[2_500, 4_500], [2_500, 4_500]]
    assert median_and_p90([7]) == [7, 7] and median_and_p90([3, 1, 2]) == [2, 3]


def test_fewer_than_three_runs_say_nothing():
    assert estimate_duration(runs(1_000, 2_000), 2) == {"runs": 2}
    assert estimate_duration([], 1) == {"runs": 0}
    untimed = [PastRun(False, True, 2, 1_000, None)] * 3
    assert estimate_duration(untimed, 2)["steps"] == []


def running(seconds: float, **known) -> Action:
    plan = Plan(observations={"expected": known}, steps=[])
    return Action(plan=plan, state="in_progress", started_at=AT - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "about 60 s left"), (22, "about 40 s left"), (55, "a few seconds left"), (60, SOON), (89, SOON), (91, LATE)],
)
def test_a_run_counts_down_and_says_when_it_takes_longer_than_usual(seconds, words):
    pace = duration_estimate(running(seconds, runs=5, median_ms=60_000, p90_ms=90_000, steps=[]), AT)
    assert pace is not None and pace.words == words
    assert (pace.expected_s, pace.p90_s, pace.is_late) == (60, 90, words == LATE)


def test_what_is_left_is_told_roughly():
    assert [describe_time_left(s) for s in (9, 61, 89, 100, 3_000, 9_000)] == [
        "a few seconds left",
        "about 60 s left",
        "about 90 s left",
        "about 2 min left",
        "about 50 min left",
        "about 2 h left",
    ]
    assert duration_estimate(running(1, runs=2), AT) is None


@pytest.mark.django_db(transaction=True)
def test_a_plan_keeps_what_is_expected_of_it_from_the_third_run_on(committed_cast, ledger_type):
    made = [
        carry(propose(committed_cast, type="ledger", parameters={"steps": 2, "sleep_ms": 20}, accept=True))
        for _ in range(4)
    ]
    assert [a.plan.observations["expected"]["runs"] for a in made] == [0, 1, 2, 3]
    impact = PredictionAccuracy.objects.get(action=made[0])
    assert len(impact.step_ms) == 2 and all(ms >= 20 for ms in impact.step_ms)
    last = made[-1].plan
    expected = last.observations["expected"]
    assert expected["median_ms"] >= 40 and len(expected["steps"]) == 2
    access = committed_cast.access("operator")
    shown = serialize_action(access, find_action(access, made[-1].pk))
    assert shown["progress"]["runs"] == 3 and shown["progress"]["expected_s"] == expected["median_ms"] / 1000
    assert shown["progress"]["remaining_s"] is None and shown["steps"][0]["expected_s"] >= 0.02
    Action.objects.filter(pk=made[-1].pk).update(state="in_progress", started_at=Now(), completed_at=None)
    live = serialize_action(access, find_action(access, made[-1].pk))["progress"]
    assert 0 <= live["remaining_s"] <= live["expected_s"] <= live["p90_s"]
    PredictionAccuracy.objects.update(ended_at=Now() - timedelta(days=31))
    like = Submission("ledger", "dev", {"steps": 2}, reason="why")
    assert dry_run(access, like).plan.observations["expected"] == {"runs": 0}


@pytest.mark.django_db(transaction=True)
def test_simulations_and_failures_are_no_history(committed_cast, ledger_type):
    for more in ({"mode": "simulate"}, {"checks": [{"kind": "tcp", "host": "127.0.0.1", "port": 9}]}):
        carry(propose(committed_cast, type="ledger", parameters={"steps": 2}, accept=True, **more))
    action = carry(propose(committed_cast, type="ledger", parameters={"steps": 2}, accept=True))
    assert action.plan.observations["expected"] == {"runs": 0}
    assert action.plan.facts["history"] == {"ended": 1, "failed": 1, "days": 30}
