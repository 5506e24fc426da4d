"""The audit log over HTTP: the twin of the pages at /audit/."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema
from pydantic import AwareDatetime, field_validator

from audit.access import tenant_to_audit
from audit.events import Subject
from audit.explore.listing import page_of
from audit.log_rows import log_indexes
from audit.models import Event
from audit.reading import Asked, envelope_of, private_values
from audit.seals.checking import verify_subject_and_seals
from audit.subjects import describe, subject_of

router = Router(tags=["audit"])


class LogQuery(Schema):
    """The filters of the log; all of them must hold."""

    limit: int = Field(50, ge=1, le=200)
    before: int | None = Field(None, ge=1, le=2**63 - 1, description="The `next` of the page before.")
    subject: UUID | None = None
    actor: str = Field("", max_length=64, description="A principal's id, or `system:<role>`.")
    verb: str = Field("", max_length=64, description="`action.approve`, or `approval` for all that begin with it.")
    outcome: str = Field("", max_length=32)
    correlation_id: str = Field("", max_length=128)
    since: AwareDatetime | None = Field(None, description="Recorded at or after.")
    until: AwareDatetime | None = Field(None, description="Recorded before.")
    environment: UUID | None = Field(None, description="Of changes there. Known of an event some seconds later.")
    type: str = Field("", max_length=64, description="Of changes of this type. Known of an event some seconds later.")
    kind: str = Field("", max_length=32, description="What the event is about: `action`, `principal`, `policy` …")
    around: date | None = Field(None, description="Recorded on this day (UTC), or `days` before or after it.")
    days: int = Field(3, ge=0, le=366)

    @field_validator("actor", "verb", "outcome", "correlation_id", "type", "kind")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\x00" in value:
            raise ValueError("NUL characters are not accepted.")
        return value

    @field_validator("since", "until", "around")
    @classmethod
    def _within_reach(cls, value: date | None) -> date | None:
        if value is not None and not 2000 <= value.year <= 9000:
            raise ValueError("Give a time between the years 2000 and 9000.")
        return value

    def asked(self) -> Asked:
        names = Asked.__dataclass_fields__
        found = {name: value for name in names if (value := getattr(self, name, None)) is not None}
        return Asked(**found, words=getattr(self, "q", ""))


class SubjectOut(Schema):
    kind: str
    id: UUID
    title: str
    url: str


class EventOut(Schema):
    """An event. `private`: what it committed to, null where that was erased. `log_index`: null until it is sealed."""

    id: int
    seq: int
    at: datetime
    subject: SubjectOut
    verb: str
    outcome: str
    actor: str
    correlation_id: str
    facts: dict[str, Any]
    private: dict[str, str | None]
    artifacts: list[str]
    prev: str
    hash: str
    log_index: int | None = None


class EventPage(Schema):
    items: list[EventOut]
    next: int | None = Field(description="Send it as `before` for the page after; null on the last.")


class BrokenOut(Schema):
    kind: str
    item: str
    detail: str


class VerdictOut(Schema):
    """`intact` says that the chain, the artifacts it names and the private values it committed to are as recorded."""

    intact: bool
    events: int
    artifacts: int
    openings: int
    head: str
    sealed: int = Field(description="How many of its events are in the sealed log, by a path to its newest head.")
    log_size: int = Field(description="Entries under that head.")
    broken: BrokenOut | None


@router.get("/audit-logs", response=EventPage, summary="Read the audit log, newest first")
def list_events(request: HttpRequest, query: Query[LogQuery]) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    events, after = page_of(tenant, query.asked(), query.before, query.limit)
    private, subjects, sealed = private_values(events), describe(tenant, events), log_indexes(events)
    items = [
        {
            **_shown(event, private.get((event.subject_id, event.seq), {}), subjects[event.subject_id]),
            "log_index": sealed.get(event.pk),
        }
        for event in events
    ]
    return {"items": items, "next": after}


@router.post("/audit-logs/{uuid:subject_id}/verify", response=VerdictOut, summary="Verify the chain of one subject")
def verify_chain(request: HttpRequest, subject_id: UUID) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    report = verify_subject_and_seals(tenant, subject_of(tenant, subject_id).id)
    broken = report.broken
    return {
        "intact": report.ok, "events": report.events, "artifacts": report.artifacts, "openings": report.openings,
        "head": report.head.hash.hex(), "sealed": report.sealed, "log_size": report.entries,
        "broken": {"kind": broken.kind, "item": broken.item, "detail": broken.detail} if broken else None,
    }  # fmt: skip


def _shown(event: Event, private: dict[str, str | None], subject: Subject) -> dict[str, Any]:
    envelope = envelope_of(event)
    columns = ("id", "seq", "at", "verb", "outcome", "actor", "correlation_id")
    return {
        **{name: getattr(event, name) for name in columns},
        **{name: envelope.get(name, empty) for name, empty in (("facts", {}), ("artifacts", []), ("prev", ""))},
        "subject": {"kind": event.subject_kind, "id": event.subject_id, "title": subject.title, "url": subject.url},
        "private": private,
        "hash": bytes(event.hash).hex(),
    }
