"""Reports in the browser: what there is, what one shows, its runs and its schedules, and the controls they speak to."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from audit.pages import auditors


@require_safe
@auditors
def reports(request: HttpRequest, tenant: UUID) -> HttpResponse:
    return render(request, "audit/reports.html", {"here": "audit", "on": "reports"})


@require_safe
@auditors
def controls(request: HttpRequest, tenant: UUID) -> HttpResponse:
    return render(request, "audit/controls.html", {"here": "audit", "on": "controls"})
