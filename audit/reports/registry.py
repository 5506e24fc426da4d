"""
What can be reported: each report says what it answers, what it shows and does not show, and gives its rows.

The floors register theirs when they connect, as they do the names of their subjects.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from audit.errors import NotFound

Row = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a run is about. `since` and `until` are None where the report is of now; no environment means all."""

    tenant: UUID
    since: datetime | None = None
    until: datetime | None = None
    environment: UUID | None = None


@dataclass(frozen=True)
class Column:
    """`share` is its part of a page's width. Values are strings, numbers, None, or lists of strings."""

    name: str
    title: str
    share: int = 2


@dataclass(frozen=True)
class Report:
    """
    One kind of report.

    `rows(wanted)` gives rows in an order that the same records always give, and None for each thing that was looked at,
    with rows or without: that is the progress, and what an empty report has checked. It reads in batches and keeps
    nothing. `looked_at` names those things.
    """

    kind: str
    title: str
    question: str
    columns: tuple[Column, ...]
    rows: Callable[[Wanted], Iterator[Row | None]]
    looked_at: str
    shows: str
    shows_not: str
    controls: tuple[str, ...] = ()
    is_of_period: bool = True
    has_environment: bool = True


_reports: dict[str, Report] = {}


def register_report(report: Report) -> None:
    """Offer a report. A kind that is registered again is replaced."""
    _reports[report.kind] = report


def reports() -> list[Report]:
    """All of them, by title."""
    return sorted(_reports.values(), key=lambda report: report.title)


def report_of(kind: str) -> Report:
    """Raises NotFound."""
    if kind not in _reports:
        raise NotFound
    return _reports[kind]
