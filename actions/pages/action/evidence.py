"""Taking the evidence of an action along: for everybody who may view it."""

from typing import cast
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from actions.lifecycle.allowed import find_action
from actions.lifecycle.commit import action_subject
from actions.pages.decorators import access_of, require_member
from audit.evidence.api import job_response
from audit.evidence.jobs import find_job
from audit.evidence.pages import ExportAddresses, export_context, handle_export


@require_http_methods(["GET", "HEAD", "POST"])
@require_member
def evidence(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The page; or, by POST, a pack as it was chosen there."""
    action = find_action(access_of(request), action_id)
    subject, place = action_subject(action), _evidence_place(action.pk)
    if request.method == "POST":
        return handle_export(request, action.tenant_id, subject, place)
    context = export_context(request, action.tenant_id, subject, place)
    return render(request, "actions/evidence.html", {**context, "here": "queue", "action": action, "plan": action.plan})


@require_safe
@require_member
def evidence_live(request: HttpRequest, action_id: UUID) -> HttpResponse:
    action = find_action(access_of(request), action_id)
    return render(
        request,
        "audit/_packs.html",
        export_context(request, action.tenant_id, action_subject(action), _evidence_place(action.pk)),
    )


@require_safe
@require_member
def evidence_file(request: HttpRequest, action_id: UUID, job_id: UUID) -> HttpResponse:
    action = find_action(access_of(request), action_id)
    sent = job_response(request, find_job(action.tenant_id, action.pk, job_id))
    return cast(HttpResponse, sent)  # a stream is none, but the door passes it on all the same


def _evidence_place(action_id: UUID) -> ExportAddresses:
    return ExportAddresses(reverse("action_evidence", args=[action_id]), f"/api/actions/{action_id}/evidence")
