"""Asking for a report, finding it again, giving it up. `audit.reports.work` makes it."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from audit.events import Entry, Subject, record
from audit.models import ReportPart, ReportRun, ReportSchedule
from audit.reports.parameters import checked, in_words
from audit.reports.registry import report_of
from audit.reports.writing import MEDIA_TYPES
from audit.subjects import register_describer

KIND = "report"
WAITING = ("queued", "running")
MOST_WAITING = 5
PAGE = 50


class NotMade(Conflict):
    """This report has no file: it is not made yet, it failed, or it was cancelled."""

    code = "report_not_made"


def ask(
    tenant: UUID, by: str, kind: str, form: str, asked: Mapping[str, Any], *, schedule: ReportSchedule | None = None,
    correlation_id: str = "",
) -> ReportRun:  # fmt: skip
    """Queue the making of a report. Event `report.asked`. Raises NotFound, Invalid; Conflict while five yours wait."""
    report = report_of(kind)
    if form not in MEDIA_TYPES:
        message = f"A report is made as {', '.join(MEDIA_TYPES)}."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "format"}])
    parameters = checked(tenant, report, asked)
    if ReportRun.objects.filter(tenant=tenant, by=by, status__in=WAITING).count() >= MOST_WAITING:
        raise Conflict(f"{MOST_WAITING} reports of yours are being made. Wait for one, or cancel one.")
    with transaction.atomic():
        run = ReportRun.objects.create(
            tenant=tenant, kind=kind, parameters=parameters, format=form, by=by, schedule=schedule,
            asked_at=database_time(),
        )  # fmt: skip
        facts = {"report": kind, "format": form, "parameters": parameters}
        if schedule is not None:
            facts["schedule"] = str(schedule.pk)
        leave_event(run, "report.asked", by, facts, correlation_id)
    return run


def cancel(tenant: UUID, by: str, run_id: UUID, *, correlation_id: str = "") -> ReportRun:
    """Give up a report that one asked for. Event `report.cancelled`. Raises NotFound, Conflict once it is made."""
    with transaction.atomic():
        found = ReportRun.objects.filter(tenant=tenant, pk=run_id, by=by)
        if not found.exists():
            raise NotFound
        at = database_time()
        if not found.filter(status__in=WAITING).update(status="cancelled", finished_at=at, claim=None):
            raise Conflict("This report is made already, or was given up. There is nothing to cancel.")
        run = found.get()
        leave_event(run, "report.cancelled", by, {}, correlation_id)
    return run


def find(tenant: UUID, run_id: UUID) -> ReportRun:
    """Raises NotFound for unknown and foreign ones alike."""
    found = ReportRun.objects.filter(tenant=tenant, pk=run_id).select_related("schedule").first()
    if found is None:
        raise NotFound
    return found


def runs_of(tenant: UUID, before: UUID | None = None, limit: int = PAGE) -> tuple[list[ReportRun], UUID | None]:
    """The tenant's newest runs, older than `before`; and the cursor of the page after, if there is one."""
    found = ReportRun.objects.filter(tenant=tenant).select_related("schedule").order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    runs = list(found[: limit + 1])
    return runs[:limit], runs[limit - 1].pk if len(runs) > limit else None


def file_of(run: ReportRun) -> Iterator[bytes]:
    """The file of a finished run, a part at a time. Raises NotMade."""
    if run.status != ReportRun.Status.DONE or not run.parts.exists():
        raise NotMade
    return _parts(run)


def file_name(run: ReportRun) -> str:
    days = [run.parameters[name] for name in ("since", "until") if name in run.parameters]
    return "-".join(["interlock", run.kind.replace("_", "-"), *days, str(run.pk)[-6:]]) + f".{run.format}"


def leave_event(
    run: ReportRun, verb: str, by: str, facts: dict[str, Any], correlation_id: str = "", outcome: str = "ok",
    private: dict[str, str] | None = None,
) -> None:  # fmt: skip
    subject = Subject(KIND, run.pk)
    record(Entry(run.tenant, subject, verb, by, outcome, correlation_id, facts, private or {}))


def forget_files(tenant: UUID, before: datetime) -> int:
    """Drop the files (not the list) of runs that ended before; return how many. For erasing what people wrote."""
    ended = ReportRun.objects.filter(tenant=tenant, finished_at__lt=before).values("pk")
    return ReportPart.objects.filter(run__in=ended).delete()[0]


def _parts(run: ReportRun) -> Iterator[bytes]:
    n = 0
    while part := ReportPart.objects.filter(run=run, n=n).first():
        yield bytes(part.data)
        n += 1


def described(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = ReportRun.objects.filter(tenant=tenant, pk__in=ids)
    return {
        run.pk: Subject(KIND, run.pk, f"Report {run.kind}: {in_words(tenant, run.parameters)}", "/audit/reports/")
        for run in found
    }


register_describer(KIND, described)
