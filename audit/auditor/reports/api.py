"""Reports over HTTP: kinds, runs and their files, schedules."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Field, Query, Router, Schema, Status

from audit.auditor.reports import runs, schedules
from audit.auditor.reports.pages import file_response
from audit.auditor.reports.registry import CONTROLS, Report, registered_reports
from audit.auditor.reports.runs import TASK, reports_for_control
from audit.jobs.wakeup import wake_up
from audit.models.auditor import ReportRun, ReportSchedule
from audit.web import auditor_of, tenant_to_audit

router = Router(tags=["audit"])


class ColumnOut(Schema):
    name: str
    title: str


class ReportOut(Schema):
    """A kind of report. `is_of_period`: it takes `since` and `until`; otherwise it shows the current state."""

    kind: str
    title: str
    question: str
    columns: list[ColumnOut]
    shows: str
    shows_not: str
    controls: list[str]
    is_of_period: bool


class ReportRunIn(Schema):
    """Days in UTC, the last one included. Default: the previous quarter."""

    format: str = Field("jsonl", description="pdf, csv or jsonl", max_length=8)
    since: str = Field("", max_length=10)
    until: str = Field("", max_length=10)
    environment: str = Field("", max_length=63, description="An environment's slug or id; empty for all.")


class ReportRunOut(Schema):
    """One run of a report. `done`: how many items were examined. `head`: the newest signed tree head at that time."""

    id: UUID
    kind: str
    parameters: dict[str, str]
    format: str
    status: str
    by: str
    requested_at: datetime
    finished_at: datetime | None
    done: int
    is_whole: bool
    head: dict[str, Any]
    sha256: str
    size: int
    error: str
    schedule: UUID | None


class ReportRunPage(Schema):
    items: list[ReportRunOut]
    next: UUID | None


class RunsQuery(Schema):
    limit: int = Field(50, ge=1, le=200)
    before: UUID | None = None


class ScheduleIn(Schema):
    kind: str = Field(max_length=64)
    format: str = Field("pdf", max_length=8)
    every: str = Field(description="week, month or quarter", max_length=8)
    recipients: list[str] = Field([], max_length=100)
    environment: str = Field("", max_length=63)


class ScheduleOut(Schema):
    id: UUID
    kind: str
    parameters: dict[str, str]
    format: str
    every: str
    recipients: list[str]
    by: str
    next_at: datetime
    stopped_because: str


class ControlOut(Schema):
    id: str
    framework: str
    title: str
    asks: str
    shows: str
    shows_not: str
    reports: list[str]


@router.get("/reports", response=list[ReportOut], summary="List the kinds of reports")
def list_reports(request: HttpRequest) -> list[Report]:
    tenant_to_audit(request)
    return registered_reports()


@router.get("/reports/controls", response=list[ControlOut], summary="List controls and the reports for them")
def list_controls(request: HttpRequest) -> list[dict[str, Any]]:
    tenant_to_audit(request)
    return [{**vars(it), "reports": [report.kind for report in reports_for_control(it.id)]} for it in CONTROLS]


@router.get("/reports/runs", response=ReportRunPage, summary="List requested reports, newest first")
def list_runs(request: HttpRequest, query: Query[RunsQuery]) -> dict[str, Any]:
    found, after = runs.list_runs(tenant_to_audit(request), query.before, query.limit)
    return {"items": [_serialize_run(run) for run in found], "next": after}


@router.post("/reports/{slug:kind}/runs", response={202: ReportRunOut}, summary="Request a report")
def request_report(request: HttpRequest, kind: str, body: ReportRunIn) -> Status[dict[str, Any]]:
    tenant, by = auditor_of(request)
    correlation_id = getattr(request, "correlation_id", "")
    run = runs.request_report(tenant, by, kind, body.format, body.dict(), correlation_id=correlation_id)
    wake_up(TASK)
    return Status(202, _serialize_run(run))


@router.get("/reports/runs/{uuid:run_id}", response=ReportRunOut, summary="Get the status of a report")
def read_run(request: HttpRequest, run_id: UUID) -> dict[str, Any]:
    return _serialize_run(runs.find_run(tenant_to_audit(request), run_id))


@router.get("/reports/runs/{uuid:run_id}/file", summary="Download a finished report")
def read_file(request: HttpRequest, run_id: UUID) -> StreamingHttpResponse:
    return file_response(request, runs.find_run(tenant_to_audit(request), run_id))


@router.post("/reports/runs/{uuid:run_id}/cancel", response=ReportRunOut, summary="Cancel your report")
def cancel_run(request: HttpRequest, run_id: UUID) -> dict[str, Any]:
    tenant, by = auditor_of(request)
    return _serialize_run(runs.cancel_run(tenant, by, run_id, correlation_id=getattr(request, "correlation_id", "")))


@router.get("/reports/schedules", response=list[ScheduleOut], summary="List report schedules")
def list_schedules(request: HttpRequest) -> list[ReportSchedule]:
    return schedules.list_schedules(tenant_to_audit(request))


@router.post("/reports/schedules", response={201: ScheduleOut}, summary="Schedule a report for each period")
def schedule_report(request: HttpRequest, body: ScheduleIn) -> Status[ReportSchedule]:
    tenant, by = auditor_of(request)
    values = {"environment": body.environment}
    made = schedules.create(
        tenant,
        by,
        body.kind,
        body.format,
        body.every,
        body.recipients,
        values,
        correlation_id=getattr(request, "correlation_id", ""),
    )
    return Status(201, made)


@router.delete("/reports/schedules/{uuid:schedule_id}", response={204: None}, summary="Delete your schedule")
def delete_schedule(request: HttpRequest, schedule_id: UUID) -> Status[None]:
    tenant, by = auditor_of(request)
    schedules.delete(tenant, by, schedule_id, correlation_id=getattr(request, "correlation_id", ""))
    return Status(204, None)


def _serialize_run(run: ReportRun) -> dict[str, Any]:
    names = [name for name in ReportRunOut.model_fields if name != "schedule"]
    return {**{name: getattr(run, name) for name in names}, "schedule": run.schedule_id}
