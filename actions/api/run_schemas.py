"""What the API tells of a run: how far it is, its steps, what they used, what they wrote."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema


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


class Pace(Progress):
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
