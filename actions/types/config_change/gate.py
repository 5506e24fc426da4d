"""What must be true of a draft before it is planned. Told from outside, because executors know no other part of it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from actions.types.protocol import PlanRefused, error
from audit.errors import Problem

Told = Callable[[str, UUID], dict[str, Any]]
"""(kind, draft) → what approvers should know of its backtest: `words` and plain values. Raises Problem without one."""
_told: list[Told] = []


def register(told: Told) -> None:
    """Say who knows about backtests."""
    _told[:] = [told]


def backtest_of(kind: str, draft: UUID) -> dict[str, Any]:
    """The backtest of a draft. Raises PlanRefused if it has none that counts, also where nobody knows of any."""
    if not _told:
        raise PlanRefused([error("Whether this was backtested cannot be told, so it is not published.", "draft")])
    try:
        return _told[0](kind, draft)
    except Problem as problem:
        raise PlanRefused([error(problem.detail, "draft")]) from problem
