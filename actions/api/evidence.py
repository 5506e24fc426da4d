"""The evidence of an action: for everybody who may view it. The audit log's own routes need `audit`."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router, Status

from actions.api.caller import access_of, correlation_of, id_of
from actions.lifecycle import subject_of
from actions.verbs import find
from audit.evidence.api import (
    DOWNLOAD,
    EvidenceQuery,
    JobIn,
    JobOut,
    evidence_response,
    job_response,
    read_form,
    serialize_job,
)
from audit.evidence.jobs import find_job, request_pack
from audit.web import principal_id_of

router = Router(tags=["evidence"])


@router.get("/actions/{action_id}/evidence", summary="The evidence pack", openapi_extra=DOWNLOAD)
def evidence(request: HttpRequest, action_id: str, query: Query[EvidenceQuery]) -> HttpResponseBase:
    """Every event of the action and what they name, in one file that `python -m audit.verify` checks offline."""
    action = find(access_of(request), action_id)
    return evidence_response(request, action.tenant_id, subject_of(action), principal_id_of(request), _here(action.pk))


@router.post("/actions/{action_id}/evidence", response={202: JobOut}, summary="Have a pack built in the background")
def build(request: HttpRequest, action_id: str, wanted: JobIn) -> Status[dict[str, Any]]:
    action = find(access_of(request), action_id)
    form, correlation_id = read_form(wanted.form), correlation_of(request)
    job = request_pack(
        action.tenant_id, subject_of(action), wanted.audience, form, principal_id_of(request), correlation_id
    )
    return Status(202, serialize_job(job, _here(action.pk)))


@router.get("/actions/{action_id}/evidence/{job_id}", response=JobOut, summary="How far a pack is")
def look(request: HttpRequest, action_id: str, job_id: str) -> dict[str, Any]:
    action = find(access_of(request), action_id)
    return serialize_job(find_job(action.tenant_id, action.pk, id_of(job_id)), _here(action.pk))


@router.get("/actions/{action_id}/evidence/{job_id}/file", summary="Download it", openapi_extra=DOWNLOAD)
def download(request: HttpRequest, action_id: str, job_id: str) -> HttpResponseBase:
    action = find(access_of(request), action_id)
    return job_response(request, find_job(action.tenant_id, action.pk, id_of(job_id)))


def _here(action_id: UUID) -> str:
    return f"/api/actions/{action_id}/evidence"
