"""Heads, keys and proofs of the tenant's log over HTTP, and verifications: the same as /audit/verification/."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status
from pydantic import AwareDatetime, field_validator, model_validator

from audit.errors import Invalid, NotFound
from audit.jobs.wakeup import wake_up
from audit.models.seals import HeadTarget, SignedTreeHead, Verification
from audit.seals import keys, publish_heads
from audit.seals.tree import newest_head, prove_consistency
from audit.verification import jobs
from audit.verification.log import entries_between
from audit.verification.status import integrity
from audit.web import may_reach_private_networks, tenant_to_administer, tenant_to_audit

router = Router(tags=["audit"])
TASK = "audit.tasks.verify"
MAX_ID = 2**63 - 1


class HeadOut(Schema):
    """A signed tree head. Keep `note` elsewhere: a C2SP signed note of a tlog-checkpoint."""

    number: int
    size: int
    root: str
    at: datetime
    key_id: str
    note: str


class HeadsQuery(Schema):
    limit: int = Field(20, ge=1, le=200)
    before: int | None = Field(None, ge=1, le=MAX_ID, description="`next` of the previous page.")


class ConsistencyQuery(Schema):
    """Sizes of two tree heads. Default for `second`: the newest."""

    first: int = Field(ge=1, le=MAX_ID)
    second: int | None = Field(None, ge=1, le=MAX_ID)


class HeadPage(Schema):
    items: list[HeadOut]
    next: int | None = Field(description="Send it as `before` to get the next page; null on the last page.")


class SigningKeyOut(Schema):
    vkey: str = Field(description="The public key as C2SP writes it.")
    key_id: str
    valid_from: str
    valid_until: str | None
    revoked_at: str | None


class ConsistencyOut(Schema):
    """A consistency proof (RFC 9162 2.1.4) that the log of `first` entries is the beginning of that of `second`."""

    first: int
    second: int
    proof: list[str]


class IntegrityOut(Schema):
    """`ok` is null before the first verification. `behind_s`: age of the oldest event that is not signed yet."""

    ok: bool | None
    sealed_upto: int
    behind_s: float
    last_verified_at: datetime | None
    broken: str


class VerificationIn(Schema):
    """What to verify. `range` takes entries (`first`, `upto`) or times (`since`, `until`)."""

    depth: str = Field("new", description="`new`, `log`, `range` or `subject`", max_length=16)
    subject: UUID | None = None
    first: int = Field(0, ge=0, le=MAX_ID)
    upto: int | None = Field(None, ge=1, le=MAX_ID)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    head: str = Field("", max_length=200_000, description="Signed tree heads that you kept.")

    @model_validator(mode="after")
    def _readable(self) -> "VerificationIn":
        if "\x00" in self.depth + self.head:
            raise ValueError("NUL characters are not accepted.")
        for moment in (self.since, self.until):
            if moment is not None and not 2000 <= moment.year <= 9000:
                raise ValueError("Give times between the years 2000 and 9000.")
        return self


class VerificationOut(Schema):
    """`intact` is null until it is done. `report`: counts, and kind, item and detail of the first break."""

    id: UUID
    depth: str
    status: str
    position: int
    total: int
    requested_at: datetime
    ended_at: datetime | None
    intact: bool | None
    broken: str
    report: dict[str, Any]


class TargetIn(Schema):
    """`every_s`: minimum seconds between tree heads. Private addresses need an administrator of the installation."""

    kind: str = Field(max_length=8, description="`file`, `http` or `email`")
    address: str = Field("", max_length=500)
    every_s: int = Field(3600, ge=10, le=604_800)
    allow_private: bool = False

    @field_validator("kind", "address")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\x00" in value:
            raise ValueError("NUL characters are not accepted.")
        return value


class TargetOut(Schema):
    id: int
    kind: str
    address: str
    every_s: int
    published_number: int
    published_at: datetime | None
    failures: int
    fault: str


@router.get("/audit-logs/heads", response=HeadPage, summary="List the signed tree heads of the log, newest first")
def heads(request: HttpRequest, query: Query[HeadsQuery]) -> dict[str, Any]:
    found = SignedTreeHead.objects.filter(tenant=tenant_to_audit(request))
    if query.before is not None:
        found = found.filter(number__lt=query.before)
    rows = list(found.order_by("-number")[: query.limit + 1])
    names = ("number", "size", "at", "key_id", "note")
    items = [{**{name: getattr(row, name) for name in names}, "root": bytes(row.root).hex()} for row in rows]
    return {"items": items[: query.limit], "next": rows[query.limit - 1].number if len(rows) > query.limit else None}


@router.get("/audit-logs/keys", response=list[SigningKeyOut], summary="List the keys that sign tree heads and packs")
def signing_keys(request: HttpRequest) -> list[dict[str, Any]]:
    return keys.public_keys(tenant_to_audit(request))


@router.get("/audit-logs/consistency", response=ConsistencyOut, summary="Prove that one tree head continues another")
def consistency(request: HttpRequest, query: Query[ConsistencyQuery]) -> dict[str, Any]:
    tenant, first = tenant_to_audit(request), query.first
    last = newest_head(tenant)
    upto = query.second or (last.size if last else 0)
    if last is None or not first <= upto <= last.size:
        raise Invalid(f"The log has {last.size if last else 0} entries; `first` must not be larger than `second`.")
    try:
        proof = prove_consistency(tenant, first, upto)
    except LookupError:
        raise NotFound("Parts of the stored log are missing. Run `manage.py verify_audit`.") from None
    return {"first": first, "second": upto, "proof": [part.hex() for part in proof]}


@router.get("/audit-logs/integrity", response=IntegrityOut, summary="Get whether the log is signed and verified")
def read_integrity(request: HttpRequest) -> Any:
    return integrity(tenant_to_audit(request))


@router.post("/audit-logs/verifications", response={202: VerificationOut}, summary="Verify the log in the background")
def verify(request: HttpRequest, body: VerificationIn) -> Status[dict[str, Any]]:
    tenant, first, upto = tenant_to_audit(request), body.first, body.upto
    if body.depth == "range" and (body.since or body.until):
        first, upto = entries_between(tenant, body.since, body.until)
        upto = upto or (last.size if (last := newest_head(tenant)) else 0)
    job = jobs.request_verification(
        tenant, str(request.user.pk), body.depth, subject_id=body.subject, first=first, upto=upto, head=body.head
    )
    wake_up(TASK)
    return Status(202, _serialize_job(job))


@router.get(
    "/audit-logs/verifications/{uuidstr:job_id}", response=VerificationOut, summary="Get the status of a verification"
)
def verification(request: HttpRequest, job_id: str) -> dict[str, Any]:
    return _serialize_job(jobs.find_job(tenant_to_audit(request), UUID(job_id)))


@router.get("/audit-logs/head-targets", response=list[TargetOut], summary="List where signed tree heads are sent")
def targets(request: HttpRequest) -> list[dict[str, Any]]:
    found = HeadTarget.objects.filter(tenant=tenant_to_audit(request)).order_by("pk")[:50]
    return [_serialize_target(target) for target in found]


@router.post("/audit-logs/head-targets", response={201: TargetOut}, summary="Send signed tree heads to a target")
def add_target(request: HttpRequest, body: TargetIn) -> Status[dict[str, Any]]:
    tenant, who = tenant_to_administer(request)
    is_private = body.allow_private and may_reach_private_networks(request)
    target = publish_heads.add_target(tenant, body.kind, body.address, body.every_s, who, is_private)
    return Status(201, _serialize_target(target))


@router.delete(
    "/audit-logs/head-targets/{int:target_id}", response={204: None}, summary="Stop sending tree heads to a target"
)
def remove_target(request: HttpRequest, target_id: int) -> Status[None]:
    tenant, who = tenant_to_administer(request)
    publish_heads.remove_target(tenant, min(target_id, MAX_ID), who)
    return Status(204, None)


def _serialize_target(target: HeadTarget) -> dict[str, Any]:
    names = ("id", "kind", "address", "every_s", "published_number", "published_at", "failures", "fault")
    return {name: getattr(target, name) for name in names}


def _serialize_job(job: Verification) -> dict[str, Any]:
    names = ("id", "depth", "status", "position", "total", "requested_at", "ended_at", "broken", "report")
    return {**{name: getattr(job, name) for name in names}, "intact": None if job.status != "done" else not job.broken}
