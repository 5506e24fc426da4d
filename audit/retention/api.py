"""Retention over HTTP: the same as /audit/retention/."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Field, Router, Schema, Status

from audit.models.seals import Archive, LegalHold
from audit.retention import archives, erasure
from audit.retention.archives import read_archive, read_keep_days
from audit.web import stream_response, tenant_to_administer, tenant_to_audit

router = Router(tags=["audit"])


class HoldIn(Schema):
    """What to hold, and why. Without a subject: everything of the tenant."""

    model_config = {"extra": "forbid"}

    reason: str = Field(min_length=1, max_length=500)
    subject: UUID | None = None


class HoldOut(Schema):
    id: UUID
    subject: UUID | None
    reason: str
    set_by: str
    set_at: datetime


class ArchiveOut(Schema):
    """A file with the events `first` to `upto` (not included). `pruned`: how many were removed from the database."""

    id: UUID
    file: str
    first: int
    upto: int
    sha256: str
    size: int
    made_at: datetime
    pruned: int


class RetentionIn(Schema):
    model_config = {"extra": "forbid"}

    keep_days: int | None = Field(description="At least 30; null keeps the log in the database forever.")


class RetentionOut(Schema):
    keep_days: int | None
    holds: list[HoldOut]
    archives: list[ArchiveOut]


class ErasureIn(Schema):
    """The person whose texts are erased, and the reason."""

    model_config = {"extra": "forbid"}

    principal: UUID
    reason: str = Field(min_length=1, max_length=4000)


class ErasureOut(Schema):
    """How much was erased, by kind."""

    erased: dict[str, int]


@router.get("/retention", response=RetentionOut, summary="Get retention, legal holds and archives")
def retention(request: HttpRequest) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    return {
        "keep_days": read_keep_days(tenant),
        "holds": [_serialize_hold(row) for row in erasure.active_holds(tenant)],
        "archives": [_serialize_archive(row) for row in archives.list_archives(tenant)],
    }


@router.put("/retention", response=RetentionOut, summary="Set how long the log is kept")
def keep(request: HttpRequest, body: RetentionIn) -> dict[str, Any]:
    """Older events can be archived to files that verify on their own. Only archived events are pruned."""
    tenant, by = tenant_to_administer(request)
    archives.set_keep_days(tenant, body.keep_days, by)
    return retention(request)


@router.post("/legal-holds", response={201: HoldOut}, summary="Set a legal hold on a subject, or on everything")
def hold(request: HttpRequest, body: HoldIn) -> Status[dict[str, Any]]:
    """Nothing that it covers is pruned or erased until the hold is lifted."""
    tenant, by = tenant_to_administer(request)
    return Status(201, _serialize_hold(erasure.set_hold(tenant, body.reason, by, body.subject)))


@router.post("/legal-holds/{uuidstr:hold_id}/lift", response=RetentionOut, summary="Lift a legal hold")
def lift(request: HttpRequest, hold_id: str) -> dict[str, Any]:
    tenant, by = tenant_to_administer(request)
    erasure.lift_hold(tenant, UUID(hold_id), by)
    return retention(request)


@router.post("/erasures", response=ErasureOut, summary="Erase a person's words")
def erase(request: HttpRequest, body: ErasureIn) -> dict[str, Any]:
    """Erases the person's texts and name permanently. Every event stays, and the log verifies as before."""
    tenant, by = tenant_to_administer(request)
    return {"erased": erasure.erase_known_person(tenant, body.principal, body.reason, by)}


@router.get("/archives/{uuidstr:archive_id}", summary="Download an archive")
def download(request: HttpRequest, archive_id: str) -> StreamingHttpResponse:
    """`python -m audit.verify FILE` verifies it."""
    row = archives.find_archive(tenant_to_audit(request), UUID(archive_id))
    return stream_response(request, read_archive(row), "application/gzip", row.file)


def _serialize_hold(row: LegalHold) -> dict[str, Any]:
    return {"subject": row.subject_id, **{n: getattr(row, n) for n in ("id", "reason", "set_by", "set_at")}}


def _serialize_archive(row: Archive) -> dict[str, Any]:
    names = ("id", "file", "first", "upto", "sha256", "size", "made_at", "pruned")
    return {name: getattr(row, name) for name in names}
