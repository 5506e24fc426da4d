"""Request a report, find it, cancel it, serialize it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.auditor.reports.registry import (
    MEDIA_TYPES,
    Report,
    check_parameters,
    describe_parameters,
    find_report,
    registered_reports,
)
from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.log.subjects import actor_names, register_describer
from audit.models.auditor import ReportMail, ReportPart, ReportRun, ReportSchedule

KIND = "report"
WAITING = ("queued", "running")
MAX_WAITING = 5
PAGE = 50
TASK = "audit.tasks.reports"


class ReportNotReady(Conflict):
    """This report has no file: it is not ready yet, it failed, or it was cancelled."""

    code = "report_not_ready"


def request_report(
    tenant: UUID,
    by: str,
    kind: str,
    form: str,
    values: Mapping[str, Any],
    *,
    schedule: ReportSchedule | None = None,
    correlation_id: str = "",
) -> ReportRun:
    """Queue a report. Event `report.requested`. Raises NotFound, Invalid; Conflict while five wait."""
    report = find_report(kind)
    if form not in MEDIA_TYPES:
        message = f"A report is made as {', '.join(MEDIA_TYPES)}."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "format"}])
    parameters = check_parameters(tenant, report, values)
    if ReportRun.objects.filter(tenant=tenant, by=by, status__in=WAITING).count() >= MAX_WAITING:
        raise Conflict(f"{MAX_WAITING} of your reports are running. Wait for one or cancel one.")
    with transaction.atomic():
        run = ReportRun.objects.create(
            tenant=tenant,
            kind=kind,
            parameters=parameters,
            format=form,
            by=by,
            schedule=schedule,
            requested_at=database_time(),
        )
        facts = {"report": kind, "format": form, "parameters": parameters}
        if schedule is not None:
            facts["schedule"] = str(schedule.pk)
        record_run_event(run, "report.requested", by, facts, correlation_id)
    return run


def cancel_run(tenant: UUID, by: str, run_id: UUID, *, correlation_id: str = "") -> ReportRun:
    """Cancel one's own report. Event `report.cancelled`. Raises NotFound, Conflict once it is made."""
    with transaction.atomic():
        found = ReportRun.objects.filter(tenant=tenant, pk=run_id, by=by)
        if not found.exists():
            raise NotFound
        at = database_time()
        if not found.filter(status__in=WAITING).update(status="cancelled", finished_at=at, claim=None):
            raise Conflict("This report is done or cancelled. There is nothing to cancel.")
        run = found.get()
        record_run_event(run, "report.cancelled", by, {}, correlation_id)
    return run


def find_run(tenant: UUID, run_id: UUID) -> ReportRun:
    """Raises NotFound for unknown and foreign ones alike."""
    found = ReportRun.objects.filter(tenant=tenant, pk=run_id).select_related("schedule").first()
    if found is None:
        raise NotFound
    return found


def list_runs(tenant: UUID, before: UUID | None = None, limit: int = PAGE) -> tuple[list[ReportRun], UUID | None]:
    """The tenant's newest runs, older than `before`; and the cursor of the page after, if there is one."""
    found = ReportRun.objects.filter(tenant=tenant).select_related("schedule").order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    runs = list(found[: limit + 1])
    return runs[:limit], runs[limit - 1].pk if len(runs) > limit else None


def read_file(run: ReportRun) -> Iterator[bytes]:
    """The file of a finished run, a part at a time. Raises ReportNotReady."""
    if run.status != ReportRun.Status.DONE or not run.parts.exists():
        raise ReportNotReady
    return _parts(run)


def file_name(run: ReportRun) -> str:
    days = [run.parameters[name] for name in ("since", "until") if name in run.parameters]
    return "-".join(["interlock", run.kind.replace("_", "-"), *days, str(run.pk)[-6:]]) + f".{run.format}"


def record_run_event(
    run: ReportRun,
    verb: str,
    by: str,
    facts: dict[str, Any],
    correlation_id: str = "",
    outcome: str = "ok",
    private: dict[str, str] | None = None,
) -> None:
    subject = Subject(KIND, run.pk)
    record(NewEvent(run.tenant, subject, verb, by, outcome, correlation_id, facts, private or {}))


def delete_files(tenant: UUID, before: datetime) -> int:
    """Drop the files (not the list) of runs that ended before; return how many. For erasing what people wrote."""
    ended = ReportRun.objects.filter(tenant=tenant, finished_at__lt=before).values("pk")
    return ReportPart.objects.filter(run__in=ended).delete()[0]


def _parts(run: ReportRun) -> Iterator[bytes]:
    n = 0
    while part := ReportPart.objects.filter(run=run, n=n).first():
        yield bytes(part.data)
        n += 1


def describe_runs(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = ReportRun.objects.filter(tenant=tenant, pk__in=ids)
    return {
        run.pk: Subject(
            KIND, run.pk, f"Report {run.kind}: {describe_parameters(tenant, run.parameters)}", "/audit/reports/"
        )
        for run in found
    }


register_describer(KIND, describe_runs)


# Reports, runs and schedules as pages and API show them.


def report_title(kind: str) -> str:
    """The report's title; its kind where no such report is registered any more."""
    return next((report.title for report in registered_reports() if report.kind == kind), kind)


def serialize_runs(tenant: UUID, runs: Sequence[ReportRun], me: str) -> list[dict[str, Any]]:
    names = actor_names(tenant, {run.by for run in runs})
    return [
        {
            "it": run,
            "title": report_title(run.kind),
            "scope": describe_parameters(tenant, run.parameters),
            "who": names[run.by],
            "is_waiting": run.status in WAITING,
            "is_mine": run.by == me,
            "file": file_name(run),
            "looked_at": find_report(run.kind).looked_at if _is_registered(run.kind) else "",
        }
        for run in runs
    ]


def serialize_schedules(tenant: UUID, schedules: Sequence[ReportSchedule], me: str) -> list[dict[str, Any]]:
    names = actor_names(tenant, {found.by for found in schedules})
    return [
        {
            "it": found,
            "title": report_title(found.kind),
            "who": names[found.by],
            "is_mine": found.by == me,
            "place": describe_parameters(tenant, found.parameters).partition(", ")[2],
        }
        for found in schedules
    ]


def _is_registered(kind: str) -> bool:
    return any(report.kind == kind for report in registered_reports())


def reports_for_control(control: str) -> list[Report]:
    """The reports that support a control."""
    return [report for report in registered_reports() if control in report.controls]


# What the auditor's pages keep of people, for who erases it: searches by name, and files that may hold their words.


def erase_files(tenant: UUID, person: UUID) -> int:
    """Drop every report file of the tenant, because any of them may contain the person's texts. The runs stay listed,
    and can be repeated.

    Mails that are not sent yet would contain the file, so they are dropped too.
    """
    ReportMail.objects.filter(run__tenant=tenant, status="due").delete()
    return delete_files(tenant, database_time())
