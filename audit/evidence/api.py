"""Evidence over HTTP: the pack of a subject, packs that are built in the background, and audiences."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Field, Query, Router, Schema, Status
from ninja.responses import Response

from audit.errors import Conflict, Invalid
from audit.evidence.contents import FULL, audiences, redaction_for, set_audience
from audit.evidence.jobs import find_job, pack_pieces, pack_size, read_content, request_pack
from audit.evidence.pack import Pack, PackRequest, plan_pack
from audit.log.events import Subject
from audit.log.subjects import find_subject
from audit.models import Event
from audit.models.auditor import PackJob
from audit.web import correlation_of, principal_id_of, stream_response, tenant_to_administer, tenant_to_audit

router = Router(tags=["evidence"])
FILE_SCHEMAS = {
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("application/zip", "application/pdf")
    }
}
DOWNLOAD: dict[str, Any] = {
    "responses": {
        200: FILE_SCHEMAS,
        202: {"description": "Whether the pack is large and therefore built in the background."},
    }
}


class EvidenceQuery(Schema):
    """Options of the pack."""

    form: str = Field("zip", max_length=8, description="`zip` for the whole pack, `pdf` for its report.")
    audience: str = Field(FULL, max_length=32, description="`full`, `external`, or one of the tenant's own audiences.")
    head: str = Field("", max_length=18, description="Size of a signed tree head that you kept; the proofs lead to it.")


class JobOut(Schema):
    """A pack built in the background. `state`: waiting, building, ready or failed. `file`: set once it is ready."""

    id: UUID
    state: str
    doing: str
    done: int
    total: int
    form: str
    audience: str
    size: int
    sha256: str
    why: str
    requested_at: datetime
    links: dict[str, str]


class JobIn(Schema):
    form: str = Field("zip", max_length=8)
    audience: str = Field(FULL, max_length=32)


class AudienceOut(Schema):
    """`withheld`: people, private:NAME or private:*, artifact:KIND, context:KIND."""

    name: str
    withheld: list[str]


class AudienceIn(Schema):
    withheld: list[str] = Field(max_length=100)


def serialize_job(job: PackJob, here: str) -> dict[str, Any]:
    """A job as JSON has it; `here` is the address of its subject's evidence."""
    links = {"self": f"{here}/{job.pk}"}
    if job.state == PackJob.State.READY:
        links["file"] = f"{here}/{job.pk}/file"
    return {**{name: getattr(job, name) for name in JobOut.model_fields if name != "links"}, "links": links}


def evidence_response(request: HttpRequest, tenant: UUID, subject: Subject, by: str, here: str) -> HttpResponseBase:
    """The pack at once; or, when it is large, 202 and the job that builds it. The caller may see the subject."""
    pack_request, form = read_pack_request(request, tenant)
    if pack_request.head_size is None and is_large(tenant, subject.id):
        job = request_pack(
            tenant, subject, pack_request.redaction.audience, form, by, getattr(request, "correlation_id", "")
        )
        return Response(serialize_job(job, here), status=202, headers={"Location": f"{here}/{job.pk}"})
    return pack_response(
        request, plan_pack(tenant, subject, pack_request), f"evidence-{subject.kind}-{subject.id}", form
    )


@router.get(
    "/audit-logs/{uuid:subject_id}/evidence", summary="Download the evidence pack of a subject", openapi_extra=DOWNLOAD
)
def evidence(request: HttpRequest, subject_id: UUID, query: Query[EvidenceQuery]) -> HttpResponseBase:
    tenant = tenant_to_audit(request)
    return evidence_response(
        request, tenant, find_subject(tenant, subject_id), principal_id_of(request), _evidence_address(subject_id)
    )


@router.post(
    "/audit-logs/{uuid:subject_id}/evidence", response={202: JobOut}, summary="Build an evidence pack in the background"
)
def build(request: HttpRequest, subject_id: UUID, wanted: JobIn) -> Status[dict[str, Any]]:
    tenant = tenant_to_audit(request)
    subject = find_subject(tenant, subject_id)
    job = request_pack(
        tenant, subject, wanted.audience, read_form(wanted.form), principal_id_of(request), correlation_of(request)
    )
    return Status(202, serialize_job(job, _evidence_address(subject_id)))


@router.get(
    "/audit-logs/{uuid:subject_id}/evidence/{uuid:job_id}",
    response=JobOut,
    summary="Get the progress of an evidence pack",
)
def read_job(request: HttpRequest, subject_id: UUID, job_id: UUID) -> dict[str, Any]:
    return serialize_job(find_job(tenant_to_audit(request), subject_id, job_id), _evidence_address(subject_id))


@router.get("/audit-logs/{uuid:subject_id}/evidence/{uuid:job_id}/file", summary="Download it", openapi_extra=DOWNLOAD)
def download(request: HttpRequest, subject_id: UUID, job_id: UUID) -> HttpResponseBase:
    return job_response(request, find_job(tenant_to_audit(request), subject_id, job_id))


@router.get("/evidence/audiences", response=list[AudienceOut], summary="List audiences and what is withheld from them")
def list_audiences(request: HttpRequest) -> list[dict[str, Any]]:
    return [{"name": a.audience, "withheld": sorted(a.withheld)} for a in audiences(tenant_to_audit(request))]


@router.put("/evidence/audiences/{slug:name}", response=AudienceOut, summary="Set what is withheld from an audience")
def put_audience(request: HttpRequest, name: str, wanted: AudienceIn) -> dict[str, Any]:
    tenant, by = tenant_to_administer(request)
    found = set_audience(tenant, name, wanted.withheld, by, correlation_of(request))
    return {"name": found.audience, "withheld": sorted(found.withheld)}


def _evidence_address(subject_id: UUID) -> str:
    return f"/api/audit-logs/{subject_id}/evidence"


# Send evidence, in pieces, under either server interface; what was built in the background also from the middle on.


MEDIA_TYPES = {"zip": "application/zip", "pdf": "application/pdf"}
LARGE_EVENTS = 2_000
"""From this many events on, a pack is built in the background."""
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


def pack_response(request: HttpRequest, pack: Pack, name: str, form: str = "zip") -> StreamingHttpResponse:
    """A download called `name`.zip (or the report, .pdf) with its length; artifacts are read while they are sent."""
    response = stream_response(request, iter(pack_pieces(pack, form)), MEDIA_TYPES[form], f"{name}.{form}")
    response["Content-Length"] = str(pack_size(pack, form))
    return response


def job_response(request: HttpRequest, job: PackJob) -> HttpResponseBase:
    """What a job built; honours one `Range`, so that a download that broke off goes on. Raises Conflict before."""
    if job.state != PackJob.State.READY:
        raise Conflict("This pack is not ready yet.", remedies=["Wait until it is ready, or request it again."])
    start, stop = _read_range(request, job)
    if start >= stop:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{job.size}"})
    name = f"evidence-{job.subject_kind}-{job.subject_id}.{job.form}"
    response = stream_response(request, read_content(job, start, stop), MEDIA_TYPES[job.form], name)
    if stop - start < job.size:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{job.size}"
    response["Content-Length"] = str(stop - start)
    response["Accept-Ranges"], response["ETag"] = "bytes", f'"{job.sha256}"'
    return response


def read_form(text: str) -> str:
    """Raises Invalid."""
    form = text or "zip"
    if form not in MEDIA_TYPES:
        raise Invalid("`form` is zip or pdf.")
    return form


def read_pack_request(request: HttpRequest, tenant: UUID) -> tuple[PackRequest, str]:
    """What is asked for in the address: `audience`, `form`, `head`. Raises Invalid, NotFound for unknown audiences."""
    form, head = read_form(request.GET.get("form", "")), request.GET.get("head", "")
    if head and not re.fullmatch(r"[1-9][0-9]{0,17}", head):
        raise Invalid("`head` is the size of a signed tree head: a number.")
    redaction = redaction_for(tenant, request.GET.get("audience") or FULL)
    return PackRequest(redaction=redaction, head_size=int(head) if head else None), form


def is_large(tenant: UUID, subject_id: UUID) -> bool:
    return Event.objects.filter(tenant=tenant, subject_id=subject_id, seq__gte=LARGE_EVENTS).exists()


def _read_range(request: HttpRequest, job: PackJob) -> tuple[int, int]:
    match = RANGE.fullmatch(request.headers.get("Range", ""))
    if (
        match is None
        or not (match[1] or match[2])
        or request.headers.get("If-Range", f'"{job.sha256}"') != f'"{job.sha256}"'
    ):
        return 0, job.size
    if not match[1]:
        return max(0, job.size - int(match[2])), job.size
    return int(match[1]), min(int(match[2]) + 1, job.size) if match[2] else job.size
