"""The explorer over HTTP: counts, search, saved searches."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from audit.access import Reader, tenant_to_audit
from audit.api import LogQuery, SubjectOut
from audit.explore import saved
from audit.explore.facets import facets
from audit.explore.hit_rows import PAGE, HitRow, hit_rows
from audit.explore.search import search
from audit.models import SavedSearch

router = Router(tags=["audit"])


class SearchQuery(LogQuery):
    """Words, and the filters of the log."""

    q: str = Field(max_length=128, min_length=1, description="Words of titles, reasons, tickets, comments.")
    page: int = Field(1, ge=1, le=25)


class FacetOut(Schema):
    value: str
    label: str
    count: int


class FacetsOut(Schema):
    """`is_capped`: more events match than the 10,000 newest, among which these were counted."""

    total: int
    is_capped: bool
    facets: dict[str, list[FacetOut]]


class HitOut(Schema):
    """A change that was found. `at` is when the text was recorded that matches best."""

    subject: SubjectOut
    at: datetime
    environment: UUID | None
    type: str
    requested_by: str
    matched: list[str]
    score: float


class HitPage(Schema):
    items: list[HitOut]
    total: int = Field(description="How many were found, 500 at most.")
    is_whole: bool = Field(description="False where more may match than was looked at.")
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


@router.get("/audit-logs/facets", response=FacetsOut, summary="Count the events that match, by each filter")
def count_by_facet(request: HttpRequest, query: Query[LogQuery]) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    counted = facets(tenant, query.asked())
    found = {name: [vars(value) for value in values] for name, values in counted.values.items()}
    return {"total": counted.total, "is_capped": counted.is_capped, "facets": found}


@router.get("/audit-logs/search", response=HitPage, summary="Find changes by words, the best first")
def search_log(request: HttpRequest, query: Query[SearchQuery]) -> dict[str, Any]:
    tenant = tenant_to_audit(request)
    found = search(tenant, query.asked())
    rows = hit_rows(tenant, found, query.page)
    more = len(found.hits) > query.page * PAGE
    return {
        "items": [_hit(row) for row in rows], "total": len(found.hits), "is_whole": found.is_whole,
        "next": query.page + 1 if more else None,
    }  # fmt: skip


@router.get("/audit-searches", response=list[SavedSearchOut], summary="Your saved searches, and those shared with you")
def list_searches(request: HttpRequest) -> list[dict[str, Any]]:
    tenant, by = reader_of(request)
    return [_saved(found, by) for found in saved.searches_of(tenant, by)]


@router.post("/audit-searches", response={201: SavedSearchOut}, summary="Save a search")
def save_search(request: HttpRequest, body: SavedSearchIn) -> Status[dict[str, Any]]:
    tenant, by = reader_of(request)
    correlation_id = getattr(request, "correlation_id", "")
    made = saved.save(tenant, by, body.name, body.query, is_shared=body.is_shared, correlation_id=correlation_id)
    return Status(201, _saved(made, by))


@router.patch("/audit-searches/{uuid:search_id}", response=SavedSearchOut, summary="Rename or share a search of yours")
def change_search(request: HttpRequest, search_id: UUID, body: SavedSearchChange) -> dict[str, Any]:
    tenant, by = reader_of(request)
    correlation_id = getattr(request, "correlation_id", "")
    changed = saved.change(
        tenant, by, search_id, name=body.name, is_shared=body.is_shared, correlation_id=correlation_id
    )
    return _saved(changed, by)


@router.delete("/audit-searches/{uuid:search_id}", response={204: None}, summary="Delete a search of yours")
def delete_search(request: HttpRequest, search_id: UUID) -> Status[None]:
    tenant, by = reader_of(request)
    saved.delete(tenant, by, search_id, correlation_id=getattr(request, "correlation_id", ""))
    return Status(204, None)


def reader_of(request: HttpRequest) -> tuple[UUID, str]:
    """The tenant to audit, and who does. Raises Unauthenticated, Forbidden."""
    tenant = tenant_to_audit(request)
    access: Reader = request.access  # type: ignore[attr-defined]
    return tenant, str(access.principal.pk)


def _hit(row: HitRow) -> dict[str, Any]:
    hit, subject = row.hit, row.subject
    return {
        "subject": {"kind": hit.kind, "id": hit.subject_id, "title": subject.title, "url": subject.url},
        "at": hit.at, "environment": hit.environment, "type": hit.type, "requested_by": row.who,
        "matched": list(hit.words), "score": round(hit.score, 3),
    }  # fmt: skip


def _saved(found: SavedSearch, by: str) -> dict[str, Any]:
    columns = ("id", "name", "query", "is_shared")
    shown = {name: getattr(found, name) for name in columns}
    return {**shown, "is_mine": found.by == by, "address": f"/audit/?{found.query}"}
