"""
Duration estimates: of a plan, by the last verified runs like it; and of a run while it runs.

Like it: same type, environment, target and number of steps. Fewer than three give no estimate.
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
"""Runs with more steps get only an estimate of the whole."""
LATE, SOON = "longer than usual", "should end any moment"


def estimate_duration(past: Sequence[PastRun], steps: int) -> dict[str, Any]:
    """
    The estimate for a run of so many steps: {"runs"}, and with enough of them "median_ms", "p90_ms", "steps".

    `steps`: [median, 90th percentile] of each step in ms, in the plan's order, where known. Pure.
    """
    alike = [run for run in past if run.is_verified and run.steps == steps]
    if len(alike) < MIN_RUNS:
        return {"runs": len(alike)}
    told = [run.step_ms for run in alike if run.step_ms and len(run.step_ms) == steps]
    each = [median_and_p90(list(column)) for column in zip(*told, strict=True)] if len(told) >= MIN_RUNS else []
    median, p90 = median_and_p90([run.duration_ms for run in alike])
    return {"runs": len(alike), "median_ms": median, "p90_ms": p90, "steps": each}


def median_and_p90(values: list[int]) -> list[int]:
    """Median and 90th percentile, by nearest rank: with few runs the latter is the longest."""
    ordered = sorted(values)
    return [ordered[(len(ordered) - 1) // 2], ordered[math.ceil(0.9 * len(ordered)) - 1]]


@dataclass(frozen=True)
class DurationEstimate:
    """A plan's estimated duration, and the progress of its run. Seconds; None while it does not run."""

    runs: int
    expected_s: float
    p90_s: float
    left_s: float | None = None
    is_late: bool = False
    until: float | None = None
    """When the run should end, and when it takes longer than usual: epoch seconds."""
    late_at: float | None = None

    @property
    def words(self) -> str:
        return LATE if self.is_late else describe_time_left(self.left_s or 0)


def _known(action: Action) -> dict[str, Any]:
    return dict((action.plan.observations or {}).get("expected") or {}) if action.plan else {}


def expected_duration(action: Action) -> DurationEstimate | None:
    """The duration estimate of an action; None without history. Pure, given its plan."""
    known = _known(action)
    return (
        DurationEstimate(known["runs"], known["median_ms"] / 1000, known["p90_ms"] / 1000)
        if "median_ms" in known
        else None
    )


def duration_estimate(action: Action, at: datetime) -> DurationEstimate | None:
    """The same, and for a running action its progress at a moment."""
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
    """How many runs the estimate is based on, however few."""
    return int(_known(action).get("runs", 0))


def step_estimates(action: Action) -> list[list[float]]:
    """[median, 90th percentile] in seconds of each step of the plan, in order; empty if unknown."""
    each = _known(action).get("steps", [])
    return [[a / 1000, b / 1000] for a, b in each] if action.plan and len(each) == len(action.plan.steps) else []


def describe_time_left(left_s: float) -> str:
    """The remaining time, rounded. static/js/run.js does the same."""
    if left_s <= 0:
        return SOON
    if left_s < 10:
        return "a few seconds left"
    if left_s < 90:
        return f"about {5 * round(left_s / 5)} s left"
    if left_s < 5400:
        return f"about {round(left_s / 60)} min left"
    return f"about {round(left_s / 3600)} h left"
