"""The audit log over HTTP: the same as the pages at /audit/."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status
from pydantic import AwareDatetime, field_validator

from audit.auditor.explore import saved_searches
from audit.auditor.explore.index import page_of_events
from audit.auditor.explore.search import HITS_PER_PAGE, HitRow, count_facets, hit_rows, search
from audit.auditor.log.event_list import read_log_indexes
from audit.log.events import Subject
from audit.log.query import EventFilter, read_envelope, read_private_values
from audit.log.subjects import describe_subjects, find_subject
from audit.models import Event
from audit.models.auditor import SavedSearch
from audit.verification.log import verify_sealed_subject
from audit.web import auditor_of, tenant_to_audit

log_router = Router(tags=["audit"])


class LogQuery(Schema):
    """The filters of the log; all of them must match."""

    limit: int = Field(50, ge=1, le=200)
    before: int | None = Field(None, ge=1, le=2**63 - 1, description="`next` of the previous page.")
    subject: UUID | None = None
    actor: str = Field("", max_length=64, description="A principal's id, or `system:<role>`.")
    verb: str = Field("", max_length=64, description="`action.approve`, or `approval` for all that begin with it.")
    outcome: str = Field("", max_length=32)
    correlation_id: str = Field("", max_length=128)
    since: AwareDatetime | None = Field(None, description="Recorded at or after this time.")
    until: AwareDatetime | None = Field(None, description="Recorded before.")
    environment: UUID | None = Field(None, description="Only changes there. New events match after some seconds.")
    type: str = Field("", max_length=64, description="Only changes of this type. New events match after some seconds.")
    kind: str = Field("", max_length=32, description="The kind of subject: `action`, `principal`, `policy` …")
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

    def event_filter(self) -> EventFilter:
        names = EventFilter.__dataclass_fields__
        found = {name: value for name in names if (value := getattr(self, name, None)) is not None}
        return EventFilter(**found, words=getattr(self, "q", ""))


class SubjectOut(Schema):
    kind: str
    id: UUID
    title: str
    url: str


class EventOut(Schema):
    """An event. `private`: texts that it committed to, null if erased. `log_index`: null until it is in the signed
    log.
    """

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
    next: int | None = Field(description="Send it as `before` to get the next page; null on the last page.")


class BrokenOut(Schema):
    kind: str
    item: str
    detail: str


class ChainVerificationOut(Schema):
    """`intact` says that the chain, the artifacts it names and the private values it committed to are as recorded."""

    intact: bool
    events: int
    artifacts: int
    openings: int
    head: str
    sealed: int = Field(
        description="How many of its events are in the signed log, proven by inclusion proofs to its newest tree head."
    )
    log_size: int = Field(description="Entries under that tree head.")
    broken: BrokenOut | None


@log_router.get("/audit-logs", response=EventPage, summary="Read the audit log, newest first")
def list_events(request: HttpRequest, query: Query[LogQuery]) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    events, after = page_of_events(tenant, query.event_filter(), query.before, query.limit)
    private, subjects, sealed = read_private_values(events), describe_subjects(tenant, events), read_log_indexes(events)
    items = [
        {
            **_serialize_event(event, private.get((event.subject_id, event.seq), {}), subjects[event.subject_id]),
            "log_index": sealed.get(event.pk),
        }
        for event in events
    ]
    return {"items": items, "next": after}


@log_router.post(
    "/audit-logs/{uuid:subject_id}/verify", response=ChainVerificationOut, summary="Verify the chain of one subject"
)
def verify_chain(request: HttpRequest, subject_id: UUID) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    report = verify_sealed_subject(tenant, find_subject(tenant, subject_id).id)
    broken = report.broken
    return {
        "intact": report.ok,
        "events": report.events,
        "artifacts": report.artifacts,
        "openings": report.openings,
        "head": report.head.hash.hex(),
        "sealed": report.sealed,
        "log_size": report.entries,
        "broken": {"kind": broken.kind, "item": broken.item, "detail": broken.detail} if broken else None,
    }


def _serialize_event(event: Event, private: dict[str, str | None], subject: Subject) -> dict[str, Any]:
    envelope = read_envelope(event)
    columns = ("id", "seq", "at", "verb", "outcome", "actor", "correlation_id")
    return {
        **{name: getattr(event, name) for name in columns},
        **{name: envelope.get(name, empty) for name, empty in (("facts", {}), ("artifacts", []), ("prev", ""))},
        "subject": {"kind": event.subject_kind, "id": event.subject_id, "title": subject.title, "url": subject.url},
        "private": private,
        "hash": bytes(event.hash).hex(),
    }


# The explorer over HTTP: counts, search, saved searches.


search_router = Router(tags=["audit"])


class SearchQuery(LogQuery):
    """Words to find, and the filters of the log."""

    q: str = Field(max_length=128, min_length=1, description="Words in titles, reasons, incidents and comments.")
    page: int = Field(1, ge=1, le=25)


class FacetOut(Schema):
    value: str
    label: str
    count: int


class FacetsOut(Schema):
    """`is_capped`: more than 10,000 events match; only the newest 10,000 are counted."""

    total: int
    is_capped: bool
    facets: dict[str, list[FacetOut]]


class HitOut(Schema):
    """A change that matches. `at` is when the best matching text was recorded."""

    subject: SubjectOut
    at: datetime
    environment: UUID | None
    type: str
    requested_by: str
    matched: list[str]
    score: float


class HitPage(Schema):
    items: list[HitOut]
    total: int = Field(description="Number of matches, 500 at most.")
    is_whole: bool = Field(description="False if more may match than was searched.")
    next: int | None


class SavedSearchIn(Schema):
    name: str = Field(min_length=1, max_length=80)
    query: str = Field("", max_length=2000, description="The explorer's query string.")
    is_shared: bool = False


class SavedSearchChange(Schema):
    name: str | None = Field(None, min_length=1, max_length=80)
    is_shared: bool | None = None


class SavedSearchOut(Schema):
    id: UUID
    name: str
    query: str
    is_shared: bool
    is_mine: bool
    address: str


@search_router.get("/audit-logs/facets", response=FacetsOut, summary="Count the events that match, by each filter")
def count_by_facet(request: HttpRequest, query: Query[LogQuery]) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    counted = count_facets(tenant, query.event_filter())
    found = {name: [vars(value) for value in values] for name, values in counted.values.items()}
    return {"total": counted.total, "is_capped": counted.is_capped, "facets": found}


@search_router.get("/audit-logs/search", response=HitPage, summary="Find changes by words, best match first")
def search_log(request: HttpRequest, query: Query[SearchQuery]) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    found = search(tenant, query.event_filter())
    rows = hit_rows(tenant, found, query.page)
    more = len(found.hits) > query.page * HITS_PER_PAGE
    return {
        "items": [_serialize_hit(row) for row in rows],
        "total": len(found.hits),
        "is_whole": found.is_whole,
        "next": query.page + 1 if more else None,
    }


@search_router.get(
    "/audit-searches", response=list[SavedSearchOut], summary="List your saved searches and those shared with you"
)
def list_searches(request: HttpRequest) -> list[dict[str, Any]]:
    tenant, by = auditor_of(request)
    return [_serialize_search(found, by) for found in saved_searches.searches_of(tenant, by)]


@search_router.post("/audit-searches", response={201: SavedSearchOut}, summary="Save a search")
def save_search(request: HttpRequest, body: SavedSearchIn) -> Status[dict[str, Any]]:
    tenant, by = auditor_of(request)
    correlation_id = getattr(request, "correlation_id", "")
    made = saved_searches.create(
        tenant, by, body.name, body.query, is_shared=body.is_shared, correlation_id=correlation_id
    )
    return Status(201, _serialize_search(made, by))


@search_router.patch("/audit-searches/{uuid:search_id}", response=SavedSearchOut, summary="Rename or share your search")
def change_search(request: HttpRequest, search_id: UUID, body: SavedSearchChange) -> dict[str, Any]:
    tenant, by = auditor_of(request)
    correlation_id = getattr(request, "correlation_id", "")
    changed = saved_searches.change(
        tenant, by, search_id, name=body.name, is_shared=body.is_shared, correlation_id=correlation_id
    )
    return _serialize_search(changed, by)


@search_router.delete("/audit-searches/{uuid:search_id}", response={204: None}, summary="Delete a search of yours")
def delete_search(request: HttpRequest, search_id: UUID) -> Status[None]:
    tenant, by = auditor_of(request)
    saved_searches.delete(tenant, by, search_id, correlation_id=getattr(request, "correlation_id", ""))
    return Status(204, None)


def _serialize_hit(row: HitRow) -> dict[str, Any]:
    hit, subject = row.hit, row.subject
    return {
        "subject": {"kind": hit.kind, "id": hit.subject_id, "title": subject.title, "url": subject.url},
        "at": hit.at,
        "environment": hit.environment,
        "type": hit.type,
        "requested_by": row.who,
        "matched": list(hit.words),
        "score": round(hit.score, 3),
    }


def _serialize_search(found: SavedSearch, by: str) -> dict[str, Any]:
    columns = ("id", "name", "query", "is_shared")
    shown = {name: getattr(found, name) for name in columns}
    return {**shown, "is_mine": found.by == by, "address": f"/audit/?{found.query}"}
