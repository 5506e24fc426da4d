"""What the explorer's page needs: the log or the hits of a search, its facets, and what the reader saved."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from audit.clock import database_time
from audit.explore.facets import FACETS, Facets, facets, facets_of
from audit.explore.hit_rows import PAGE as HITS_PAGE
from audit.explore.hit_rows import hit_rows
from audit.explore.indexer import upto
from audit.explore.listing import page_of
from audit.explore.saved import searches_of
from audit.explore.search import search
from audit.log_filters import DAYS, START, Filters
from audit.log_rows import opened, rows_of
from audit.subjects import names_of_actors, names_of_places, subject_of
from audit.verification import Report

PAGE = 50
TITLES = {
    "environment": "Environment", "type": "Type of change", "kind": "About", "verb": "Event", "outcome": "Outcome",
    "actor": "Who",
}  # fmt: skip


def explorer_context(
    request: HttpRequest, tenant: UUID, filters: Filters | None = None, report: Report | None = None
) -> dict[str, Any]:
    """Everything the templates show; a fixed number of queries for the log, and a few per word of a search."""
    filters = filters or Filters.read(request.GET)
    shown = _hits(tenant, filters) if filters.q else _log(tenant, filters)
    subject_id = filters.asked().subject
    _, indexed_at = upto()
    return {
        "here": "audit", "on": "log", "filters": filters, "chips": _chips(tenant, filters), "days": DAYS,
        "report": report, "verified_at": database_time() if report else None, "indexed_at": indexed_at,
        "subject": subject_of(tenant, subject_id) if subject_id and shown.get("rows") else None,
        "facet_list": _facet_list(filters, shown["facets"]), "saved": searches_of(tenant, str(request.user.pk)),
        "me": str(request.user.pk),
        **shown,
    }  # fmt: skip


def _log(tenant: UUID, filters: Filters) -> dict[str, Any]:
    events, after = page_of(tenant, filters.asked(), filters.before, PAGE)
    rows = rows_of(tenant, events, filters)
    open_row = next((row for row in rows if row.is_open), None)
    return {
        "rows": rows,
        "opened": opened(tenant, open_row) if open_row else None,
        "newest": filters.address(before=None, open=None),
        "older": filters.address(before=after, open=None) if after else "",
        "facets": facets(tenant, filters.asked()),
    }


def _hits(tenant: UUID, filters: Filters) -> dict[str, Any]:
    found, page = search(tenant, filters.asked()), min(filters.page or 1, 1_000)
    more = len(found.hits) > page * HITS_PAGE
    return {
        "found": found,
        "hits": hit_rows(tenant, found, page),
        "page_number": page,
        "next_page": filters.address(page=page + 1) if more else "",
        "first_page": filters.address(page=None),
        "facets": facets_of(tenant, found.hits, found.is_whole),
    }


def _facet_list(filters: Filters, counted: Facets) -> list[dict[str, Any]]:
    """Facets with something to choose, each value with the address that filters on it."""
    return [
        {
            "name": name, "title": TITLES[name],
            "values": [
                {"it": value, "address": filters.address(**{name: value.value, **START}),
                 "is_on": getattr(filters, name) == value.value}
                for value in counted.values[name]
            ],
        }
        for name in FACETS if counted.values.get(name)
    ]  # fmt: skip


def _chips(tenant: UUID, filters: Filters) -> list[dict[str, str]]:
    """What is filtered on, with names for the ids of environments and actors."""
    chips = filters.chips()
    if filters.environment:
        places = {str(pk): name for pk, name in names_of_places(tenant).items()}
        chips = [{**c, "value": places.get(c["value"], c["value"])} if c["name"] == "environment" else c for c in chips]
    if filters.actor:
        names = names_of_actors(tenant, {filters.actor})
        chips = [{**c, "value": names.get(c["value"], c["value"])} if c["name"] == "actor" else c for c in chips]
    return chips
