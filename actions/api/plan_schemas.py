"""Response schemas of plans and runs, and the bounds of points in time."""

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Field, Schema
from pydantic import AfterValidator, AwareDatetime


def _check_range(moment: datetime) -> datetime:
    if not 2000 <= moment.year <= 9000:
        raise ValueError("Give a time between the years 2000 and 9000.")
    return moment


ZonedTime = Annotated[AwareDatetime, AfterValidator(_check_range)]


def to_milliseconds(moment: datetime) -> int:
    """Since 1970, in UTC."""
    return int(moment.timestamp() * 1000)


# A plan: its score, its steps, its rollback plan.


class Blast(Schema):
    score: int
    tier: str
    factors: list[dict[str, Any]] = Field(..., description="name, why, points, max and weight; points sum to score.")
    lower: list[dict[str, Any]] = Field(
        [], description="Single changes that would lower the tier: what, and the score and tier that it would lead to."
    )


class UndoOut(Schema):
    step: str
    kind: str
    title: str


class RollbackOut(Schema):
    """The rollback plan as approved: `steps` in the order in which they would be undone."""

    order: Literal["reverse", "forward"]
    mode: Literal["all-or-nothing", "best-effort"]
    steps: list[UndoOut]
    no_return: list[str] = Field(..., description="The first steps that cannot be undone.")


class PlanOut(Schema):
    version: int
    digest: str
    summary: str
    blast: Blast
    counts: dict[str, int]
    steps: list[dict[str, Any]]
    rollback: RollbackOut
    recovery: dict[str, Any] = Field(..., description="What is done about steps that fail; empty for an old plan.")
    created_at: datetime | None


# A run: progress, steps, resource usage, log.


class MetricsOut(Schema):
    """What attempts used, all together: seconds and bytes, null where nobody can tell. docs/watching.md explains."""

    attempts: int
    duration_s: float | None
    cpu_s: float | None
    peak_memory_bytes: int | None
    memory_of: Literal["step", "worker"] = Field(
        ..., description="`worker`: of the process, which other steps share; the step itself took no more than that."
    )
    read_bytes: int | None
    written_bytes: int | None


class StepOut(Schema):
    key: str
    title: str
    target: str
    operation: str
    state: str = Field(
        ...,
        description="pending, open, waiting (to be tried again), done, skipped, failed, undoing, undone, undo_failed",
    )
    attempts: int
    retry_count: int
    next_try_at: datetime | None
    fallback_for: str | None = Field(..., description="The step that this one stands in for, should that one fail.")
    undo_attempts: int
    compensation: dict[str, Any]
    facts: dict[str, Any]
    metrics: MetricsOut | None = Field(..., description="Of all its attempts, also those to undo it.")
    expected_s: float | None = Field(..., description="Half of the runs like it took no longer for this step.")
    p90_s: float | None
    started_at: datetime | None
    ended_at: datetime | None


class Progress(Schema):
    done: int
    total: int


class ProgressWithEstimate(Progress):
    """How far a run is, and by the verified runs like it how long it should take: null from fewer than three."""

    runs: int = Field(..., description="Runs that this is known from.")
    expected_s: float | None = Field(..., description="Half of them took no longer.")
    p90_s: float | None = Field(..., description="Nine of ten took no longer.")
    remaining_s: float | None = Field(..., description="While it runs; 0 once it takes longer than expected.")


class LogOut(Schema):
    """Lines of one attempt. `kind`: how it ended (receipt, failure, undo_receipt, undo_failure), or live."""

    step: str
    attempt: int
    kind: str
    at: datetime
    text: str


class LogPage(Schema):
    items: list[LogOut]
    next: str | None = Field(..., description="Send it as `after` for what follows; null where there is no more yet.")
    cursor: str = Field(..., description="Send it as `after` later, for what was written since.")
