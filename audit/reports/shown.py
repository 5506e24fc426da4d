"""Reports, runs and schedules as pages and API show them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from audit.models import ReportRun, ReportSchedule
from audit.reports.parameters import in_words
from audit.reports.registry import Report, report_of, reports
from audit.reports.runs import WAITING, file_name
from audit.subjects import names_of_actors


def title_of(kind: str) -> str:
    """The report's title; its kind where no such report is registered any more."""
    return next((report.title for report in reports() if report.kind == kind), kind)


def runs_shown(tenant: UUID, runs: Sequence[ReportRun], me: str) -> list[dict[str, Any]]:
    names = names_of_actors(tenant, {run.by for run in runs})
    return [
        {
            "it": run, "title": title_of(run.kind), "asked_for": in_words(tenant, run.parameters),
            "who": names[run.by], "is_waiting": run.status in WAITING, "is_mine": run.by == me,
            "file": file_name(run), "looked_at": report_of(run.kind).looked_at if _known(run.kind) else "",
        }
        for run in runs
    ]  # fmt: skip


def schedules_shown(tenant: UUID, schedules: Sequence[ReportSchedule], me: str) -> list[dict[str, Any]]:
    names = names_of_actors(tenant, {found.by for found in schedules})
    return [
        {"it": found, "title": title_of(found.kind), "who": names[found.by], "is_mine": found.by == me,
         "place": in_words(tenant, found.parameters).partition(", ")[2]}
        for found in schedules
    ]  # fmt: skip


def _known(kind: str) -> bool:
    return any(report.kind == kind for report in reports())


def answering(control: str) -> list[Report]:
    """The reports that speak to a control."""
    return [report for report in reports() if control in report.controls]
