"""The log's page: filters, search, saved searches, and verifying one chain."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit.auditor.explore import saved_searches
from audit.auditor.explore.index import indexed_upto, page_of_events
from audit.auditor.explore.saved_searches import searches_of
from audit.auditor.explore.search import FACETS, HITS_PER_PAGE, Facets, count_facets, count_hit_facets, hit_rows, search
from audit.auditor.log.event_list import DAYS, FIRST_PAGE, LogFilters, event_details, event_rows
from audit.database.clock import database_time
from audit.log.subjects import actor_names, environment_names, find_subject
from audit.verification.chain import ChainReport
from audit.verification.log import verify_sealed_subject
from audit.web import auditors_only, correlation_of


@require_safe
@auditors_only
def log_page(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The page, or only the log when the log asks for itself."""
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "audit/_log.html" if is_fragment else "audit/log.html", explorer_context(request, tenant))


@require_POST
@auditors_only
def verify_page(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    """Verify one subject's chain now, and show the result above its events."""
    subject = find_subject(tenant, subject_id)
    report = verify_sealed_subject(tenant, subject.id)
    filters = LogFilters(subject=str(subject.id))
    context = explorer_context(request, tenant, filters, report)
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "audit/_chain.html" if is_fragment else "audit/log.html", context)


# What the explorer's page needs: the log or the hits of a search, its facets, and what the reader saved.


EVENTS_PER_PAGE = 50
FACET_TITLES = {
    "environment": "Environment",
    "type": "Type of change",
    "kind": "About",
    "verb": "Event",
    "outcome": "Outcome",
    "actor": "Who",
}


def explorer_context(
    request: HttpRequest, tenant: UUID, filters: LogFilters | None = None, report: ChainReport | None = None
) -> dict[str, Any]:
    """Everything the templates show; a fixed number of queries for the log, and a few per word of a search."""
    filters = filters or LogFilters.read(request.GET)
    shown = _hits_context(tenant, filters) if filters.q else _log_context(tenant, filters)
    subject_id = filters.event_filter().subject
    _, indexed_at = indexed_upto()
    return {
        "here": "audit",
        "on": "log",
        "filters": filters,
        "chips": _chips(tenant, filters),
        "days": DAYS,
        "report": report,
        "verified_at": database_time() if report else None,
        "indexed_at": indexed_at,
        "subject": find_subject(tenant, subject_id) if subject_id and shown.get("rows") else None,
        "facet_list": _facet_list(filters, shown["facets"]),
        "saved": searches_of(tenant, str(request.user.pk)),
        "me": str(request.user.pk),
        **shown,
    }


def _log_context(tenant: UUID, filters: LogFilters) -> dict[str, Any]:
    events, after = page_of_events(tenant, filters.event_filter(), filters.before, EVENTS_PER_PAGE)
    rows = event_rows(tenant, events, filters)
    open_row = next((row for row in rows if row.is_open), None)
    return {
        "rows": rows,
        "opened": event_details(tenant, open_row) if open_row else None,
        "newest": filters.address(before=None, open=None),
        "older": filters.address(before=after, open=None) if after else "",
        "facets": count_facets(tenant, filters.event_filter()),
    }


def _hits_context(tenant: UUID, filters: LogFilters) -> dict[str, Any]:
    found, page = search(tenant, filters.event_filter()), min(filters.page or 1, 1_000)
    more = len(found.hits) > page * HITS_PER_PAGE
    return {
        "found": found,
        "hits": hit_rows(tenant, found, page),
        "page_number": page,
        "next_page": filters.address(page=page + 1) if more else "",
        "first_page": filters.address(page=None),
        "facets": count_hit_facets(tenant, found.hits, found.is_whole),
    }


def _facet_list(filters: LogFilters, counted: Facets) -> list[dict[str, Any]]:
    """Facets with something to choose, each value with the address that filters on it."""
    return [
        {
            "name": name,
            "title": FACET_TITLES[name],
            "values": [
                {
                    "it": value,
                    "address": filters.address(**{name: value.value, **FIRST_PAGE}),
                    "is_on": getattr(filters, name) == value.value,
                }
                for value in counted.values[name]
            ],
        }
        for name in FACETS
        if counted.values.get(name)
    ]


def _chips(tenant: UUID, filters: LogFilters) -> list[dict[str, str]]:
    """The active filters, with names for the ids of environments and actors."""
    chips = filters.chips()
    if filters.environment:
        places = {str(pk): name for pk, name in environment_names(tenant).items()}
        chips = [{**c, "value": places.get(c["value"], c["value"])} if c["name"] == "environment" else c for c in chips]
    if filters.actor:
        names = actor_names(tenant, {filters.actor})
        chips = [{**c, "value": names.get(c["value"], c["value"])} if c["name"] == "actor" else c for c in chips]
    return chips


@require_POST
@auditors_only
def save_search(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """Save the search that the page shows, and show it again."""
    form = request.POST
    made = saved_searches.create(
        tenant,
        str(request.user.pk),
        form.get("name", ""),
        form.get("query", ""),
        is_shared=form.get("is_shared") == "yes",
        correlation_id=correlation_of(request),
    )
    return redirect(f"/audit/?{made.query}")


@require_POST
@auditors_only
def change_search(request: HttpRequest, tenant: UUID, search_id: UUID) -> HttpResponse:
    """Rename a search, share it or no longer."""
    found = saved_searches.change(
        tenant,
        str(request.user.pk),
        search_id,
        name=request.POST.get("name", ""),
        is_shared=request.POST.get("is_shared") == "yes",
        correlation_id=correlation_of(request),
    )
    return redirect(f"/audit/?{found.query}")


@require_POST
@auditors_only
def delete_search(request: HttpRequest, tenant: UUID, search_id: UUID) -> HttpResponse:
    saved_searches.delete(tenant, str(request.user.pk), search_id, correlation_id=correlation_of(request))
    return redirect("/audit/")
