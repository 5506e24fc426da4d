"""The pages of reports: kinds, one report with its runs and schedules, and the controls they support."""

from itertools import islice
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit.auditor.reports import runs, schedules
from audit.auditor.reports.registry import (
    CONTROLS,
    MEDIA_TYPES,
    Report,
    Row,
    build_scope,
    check_parameters,
    describe_parameters,
    find_report,
    last_quarter,
    registered_reports,
)
from audit.auditor.reports.runs import TASK, reports_for_control, serialize_runs, serialize_schedules
from audit.database.clock import database_time
from audit.errors import Conflict, Invalid
from audit.jobs.wakeup import wake_up
from audit.log.subjects import environment_names
from audit.models.auditor import ReportRun, ReportSchedule
from audit.web import auditors_only, correlation_of, stream_response

PREVIEW_ROWS, MAX_LOOKED_AT = 20, 500


@require_safe
@auditors_only
def reports(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The kinds of reports, and the newest runs."""
    before = request.GET.get("before", "")
    found, after = runs.list_runs(tenant, _uuid(before))
    context = {
        "here": "audit",
        "on": "reports",
        "reports": registered_reports(),
        "runs": serialize_runs(tenant, found, _me(request)),
        "older": after,
        "is_older": bool(before),
        "schedules": serialize_schedules(tenant, schedules.list_schedules(tenant), _me(request)),
    }
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "audit/_runs.html" if is_fragment else "audit/reports.html", context)


@require_safe
@auditors_only
def report(request: HttpRequest, tenant: UUID, kind: str) -> HttpResponse:
    """One report: its description, a form to request it, and a preview for the form's scope."""
    return _report_page(request, tenant, find_report(kind), request.GET)


@require_POST
@auditors_only
def request_report(request: HttpRequest, tenant: UUID, kind: str) -> HttpResponse:
    try:
        runs.request_report(
            tenant,
            _me(request),
            kind,
            request.POST.get("format", "pdf"),
            request.POST.dict(),
            correlation_id=correlation_of(request),
        )
    except (Invalid, Conflict) as refused:
        return _report_page(request, tenant, find_report(kind), request.POST, refused)
    wake_up(TASK)
    return redirect("audit:reports")


@require_POST
@auditors_only
def schedule(request: HttpRequest, tenant: UUID, kind: str) -> HttpResponse:
    form = request.POST
    recipients = form.get("recipients", "").replace(",", "\n").splitlines()
    try:
        schedules.create(
            tenant,
            _me(request),
            kind,
            form.get("format", "pdf"),
            form.get("every", ""),
            recipients,
            form.dict(),
            correlation_id=correlation_of(request),
        )
    except (Invalid, Conflict) as refused:
        return _report_page(request, tenant, find_report(kind), form, refused)
    return redirect("audit:reports")


@require_POST
@auditors_only
def unschedule(request: HttpRequest, tenant: UUID, schedule_id: UUID) -> HttpResponse:
    schedules.delete(tenant, _me(request), schedule_id, correlation_id=correlation_of(request))
    return redirect("audit:reports")


@require_safe
@auditors_only
def run(request: HttpRequest, tenant: UUID, run_id: UUID) -> HttpResponse:
    found = serialize_runs(tenant, [runs.find_run(tenant, run_id)], _me(request))
    return render(request, "audit/run.html", {"here": "audit", "on": "reports", "runs": found, "run": found[0]})


@require_POST
@auditors_only
def cancel(request: HttpRequest, tenant: UUID, run_id: UUID) -> HttpResponse:
    runs.cancel_run(tenant, _me(request), run_id, correlation_id=correlation_of(request))
    return redirect("audit:reports")


@require_safe
@auditors_only
def file(request: HttpRequest, tenant: UUID, run_id: UUID) -> StreamingHttpResponse:
    return file_response(request, runs.find_run(tenant, run_id))


@require_safe
@auditors_only
def controls(request: HttpRequest, tenant: UUID) -> HttpResponse:
    found = [{"it": control, "reports": reports_for_control(control.id)} for control in CONTROLS]
    return render(request, "audit/controls.html", {"here": "audit", "on": "controls", "controls": found})


def file_response(request: HttpRequest, found: ReportRun) -> StreamingHttpResponse:
    """The finished file as a download, read while it is sent. Raises ReportNotReady."""
    response = stream_response(request, runs.read_file(found), MEDIA_TYPES[found.format], runs.file_name(found))
    response["Content-Length"] = str(found.size)
    return response


def _report_page(
    request: HttpRequest, tenant: UUID, found: Report, form: Any, refused: Invalid | Conflict | None = None
) -> HttpResponse:
    since, until = last_quarter(database_time().date())
    values = {
        "since": form.get("since") or since.isoformat(),
        "until": form.get("until") or until.isoformat(),
        "environment": form.get("environment", ""),
        "recipients": form.get("recipients", ""),
        "every": form.get("every", "month"),
        "format": form.get("format", "pdf"),
    }
    issues = refused.extra.get("issues", []) if refused else []
    context = {
        "here": "audit",
        "on": "reports",
        "report": found,
        "values": values,
        "formats": MEDIA_TYPES,
        "places": [(str(pk), name) for pk, name in environment_names(tenant).items()],
        "refused": refused,
        "issues": {issue["field"]: issue["message"] for issue in issues},
        "rhythms": ReportSchedule.Every.choices,
        "preview": None if refused else _preview(tenant, found, values),
    }
    return render(request, "audit/report.html", context, status=refused.status if refused else 200)


def _preview(tenant: UUID, found: Report, values: dict[str, str]) -> dict[str, Any] | None:
    """The first twenty rows, if they are among the first 500 things; None for a scope that is not valid."""
    try:
        parameters = check_parameters(tenant, found, values)
    except Invalid:
        return None
    rows: list[Row] = []
    looked_at = 0
    for row in islice(found.rows(build_scope(tenant, parameters)), MAX_LOOKED_AT):
        looked_at += row is None
        rows += [row] if row is not None else []
        if len(rows) == PREVIEW_ROWS:
            break
    columns = [column.name for column in found.columns]
    cells = [[row.get(name) for name in columns] for row in rows]
    return {"rows": cells, "looked_at": looked_at, "scope": describe_parameters(tenant, parameters)}


def _me(request: HttpRequest) -> str:
    return str(request.user.pk)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
