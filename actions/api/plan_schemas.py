"""A plan as the API shows it: its score, its steps, and the way back."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema


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
    """The way back, as it was approved: `steps` in the order in which they would be undone."""

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
