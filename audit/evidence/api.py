"""Evidence over HTTP: the pack of a subject, packs that are built in the background, and who gets what."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from ninja import Field, Query, Router, Schema, Status
from ninja.responses import Response

from audit.access import tenant_to_administer, tenant_to_audit
from audit.errors import Invalid
from audit.events import Entry, Subject, record
from audit.evidence.jobs import ask, job_of
from audit.evidence.models import Audience, PackJob
from audit.evidence.pack import plan_pack
from audit.evidence.redaction import FULL, Redaction, audiences, check_words
from audit.evidence.response import is_large, job_response, pack_response, read_form, read_wish
from audit.subjects import subject_of

router = Router(tags=["evidence"])
FILES = {
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("application/zip", "application/pdf")
    }
}
DOWNLOAD: dict[str, Any] = {"responses": {200: FILES, 202: {"description": "Large: it is built in the background."}}}


class EvidenceQuery(Schema):
    """What pack is wanted."""

    form: str = Field("zip", max_length=8, description="`zip`, the whole pack; or `pdf`, its report.")
    audience: str = Field(FULL, max_length=32, description="For whom: `full`, `external`, or one of the tenant's own.")
    head: str = Field(
        "", max_length=18, description="Size of a signed head that you kept: the proofs lead to that one."
    )


class JobOut(Schema):
    """A pack that is being built, or was: `state` is waiting, building, ready or failed; `file` once it is ready."""

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
    asked_at: datetime
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


def told(job: PackJob, here: str) -> dict[str, Any]:
    """A job as JSON has it; `here` is the address of its subject's evidence."""
    links = {"self": f"{here}/{job.pk}"}
    if job.state == PackJob.State.READY:
        links["file"] = f"{here}/{job.pk}/file"
    return {**{name: getattr(job, name) for name in JobOut.model_fields if name != "links"}, "links": links}


def evidence_of(request: HttpRequest, tenant: UUID, subject: Subject, by: str, here: str) -> HttpResponseBase:
    """The pack at once; or, when it is large, 202 and the job that builds it. The caller may see the subject."""
    wish, form = read_wish(request, tenant)
    if wish.head_size is None and is_large(tenant, subject.id):
        job = ask(tenant, subject, wish.redaction.audience, form, by, getattr(request, "correlation_id", ""))
        return Response(told(job, here), status=202, headers={"Location": f"{here}/{job.pk}"})
    return pack_response(request, plan_pack(tenant, subject, wish), f"evidence-{subject.kind}-{subject.id}", form)


@router.get(
    "/audit-logs/{uuid:subject_id}/evidence", summary="The evidence pack of one subject", openapi_extra=DOWNLOAD
)
def evidence(request: HttpRequest, subject_id: UUID, query: Query[EvidenceQuery]) -> HttpResponseBase:
    tenant = tenant_to_audit(request)
    return evidence_of(request, tenant, subject_of(tenant, subject_id), caller(request), _here(subject_id))


@router.post(
    "/audit-logs/{uuid:subject_id}/evidence", response={202: JobOut}, summary="Have a pack built in the background"
)
def build(request: HttpRequest, subject_id: UUID, wanted: JobIn) -> Status[dict[str, Any]]:
    tenant = tenant_to_audit(request)
    subject = subject_of(tenant, subject_id)
    job = ask(tenant, subject, wanted.audience, read_form(wanted.form), caller(request), _correlation(request))
    return Status(202, told(job, _here(subject_id)))


@router.get("/audit-logs/{uuid:subject_id}/evidence/{uuid:job_id}", response=JobOut, summary="How far a pack is")
def look(request: HttpRequest, subject_id: UUID, job_id: UUID) -> dict[str, Any]:
    return told(job_of(tenant_to_audit(request), subject_id, job_id), _here(subject_id))


@router.get("/audit-logs/{uuid:subject_id}/evidence/{uuid:job_id}/file", summary="Download it", openapi_extra=DOWNLOAD)
def download(request: HttpRequest, subject_id: UUID, job_id: UUID) -> HttpResponseBase:
    return job_response(request, job_of(tenant_to_audit(request), subject_id, job_id))


@router.get("/evidence/audiences", response=list[AudienceOut], summary="What is withheld from whom")
def list_audiences(request: HttpRequest) -> list[dict[str, Any]]:
    return [{"name": a.audience, "withheld": sorted(a.withheld)} for a in audiences(tenant_to_audit(request))]


@router.put("/evidence/audiences/{slug:name}", response=AudienceOut, summary="Say what is withheld from an audience")
def put_audience(request: HttpRequest, name: str, wanted: AudienceIn) -> dict[str, Any]:
    tenant, by = tenant_to_administer(request)
    found = set_audience(tenant, name, wanted.withheld, by, _correlation(request))
    return {"name": found.audience, "withheld": sorted(found.withheld)}


def set_audience(tenant: UUID, name: str, withheld: list[str], by: str, correlation_id: str = "") -> Redaction:
    """Keep the tenant's rule for an audience; leaves an event on the tenant. Raises Invalid."""
    if name == FULL or len(name) > 32:
        raise Invalid("`full` withholds nothing, and an audience's name has at most 32 characters.")
    words = check_words(withheld)
    with transaction.atomic():
        Audience.objects.update_or_create(tenant=tenant, name=name, defaults={"withheld": words})
        facts = {"audience": name, "withheld": words}
        record(Entry(tenant, Subject("tenant", tenant), "evidence.audience_changed", by, "ok", correlation_id, facts))
    return Redaction(name, frozenset(words))


def caller(request: HttpRequest) -> str:
    """The id of whoever asks."""
    return str(request.access.principal.pk)  # type: ignore[attr-defined]


def _here(subject_id: UUID) -> str:
    return f"/api/audit-logs/{subject_id}/evidence"


def _correlation(request: HttpRequest) -> str:
    return getattr(request, "correlation_id", "")
