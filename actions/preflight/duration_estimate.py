"""
How long runs take: what is expected of a plan by the last verified runs like it, and how a run goes by that.

Like it: of its type, in its environment, with its target, and of as many steps. From fewer than three nothing is said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from actions.lifecycle.prediction_accuracy import PastRun
from actions.models import Action
from actions.models.states import State

MIN_RUNS = 3
MAX_STEPS = 64
"""Of a run with more, only the whole is expected."""
LATE, SOON = "longer than usual", "should end any moment"


def estimate_duration(past: Sequence[PastRun], steps: int) -> dict[str, Any]:
    """What is expected of a run of so many steps: {"runs"}, and where they are enough "median_ms", "p90_ms", "steps".

    `steps`: [median, 90th percentile] of each step in ms, in the plan's order, as far as the runs tell. Pure.
    """
    alike = [run for run in past if run.is_verified and run.steps == steps]
    if len(alike) < MIN_RUNS:
        return {"runs": len(alike)}
    told = [run.step_ms for run in alike if run.step_ms and len(run.step_ms) == steps]
    each = [median_and_p90(list(column)) for column in zip(*told, strict=True)] if len(told) >= MIN_RUNS else []
    median, p90 = median_and_p90([run.duration_ms for run in alike])
    return {"runs": len(alike), "median_ms": median, "p90_ms": p90, "steps": each}


def median_and_p90(values: list[int]) -> list[int]:
    """Median and 90th percentile, by nearest rank: of few runs the latter is the longest."""
    ordered = sorted(values)
    return [ordered[(len(ordered) - 1) // 2], ordered[math.ceil(0.9 * len(ordered)) - 1]]


@dataclass(frozen=True)
class DurationEstimate:
    """A plan's expected time, and where its run stands by that. Seconds; None while it does not run."""

    runs: int
    expected_s: float
    p90_s: float
    left_s: float | None = None
    is_late: bool = False
    until: float | None = None
    """When it should have ended, and beyond which it takes longer than usual: epoch seconds."""
    late_at: float | None = None

    @property
    def words(self) -> str:
        return LATE if self.is_late else describe_time_left(self.left_s or 0)


def _known(action: Action) -> dict[str, Any]:
    return dict((action.plan.observations or {}).get("expected") or {}) if action.plan else {}


def expected_duration(action: Action) -> DurationEstimate | None:
    """What is expected of an action's run; None where there is no history yet. Pure, given its plan."""
    known = _known(action)
    return (
        DurationEstimate(known["runs"], known["median_ms"] / 1000, known["p90_ms"] / 1000)
        if "median_ms" in known
        else None
    )


def duration_estimate(action: Action, at: datetime) -> DurationEstimate | None:
    """The same, and while it runs, how it goes by that at a moment."""
    usual = expected_duration(action)
    runs = action.state in (State.IN_PROGRESS, State.VERIFYING) and not action.simulated
    if usual is None or action.started_at is None or not runs:
        return usual
    began, spent = action.started_at.timestamp(), (at - action.started_at).total_seconds()
    late = max(usual.p90_s, usual.expected_s)
    return replace(
        usual,
        left_s=max(0.0, usual.expected_s - spent),
        is_late=spent > late,
        until=began + usual.expected_s,
        late_at=began + late,
    )


def known_runs(action: Action) -> int:
    """How many runs there were to go by, however few."""
    return int(_known(action).get("runs", 0))


def step_estimates(action: Action) -> list[list[float]]:
    """[median, 90th percentile] in seconds of each step of the plan, in order; empty where that is not known."""
    each = _known(action).get("steps", [])
    return [[a / 1000, b / 1000] for a, b in each] if action.plan and len(each) == len(action.plan.steps) else []


def describe_time_left(left_s: float) -> str:
    """What is left, roughly: people plan by it, nobody measures. static/js/run.js says the same."""
    if left_s <= 0:
        return SOON
    if left_s < 10:
        return "a few seconds left"
    if left_s < 90:
        return f"about {5 * round(left_s / 5)} s left"
    if left_s < 5400:
        return f"about {round(left_s / 60)} min left"
    return f"about {round(left_s / 3600)} h left"
