"""One subject from its first event to its last, one event with what it changed and its proof, and saved searches."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit.explore import saved, timeline
from audit.explore.changed import changed_by
from audit.explore.proof import walk
from audit.explore.relations import drawn, relations
from audit.log_filters import Filters
from audit.log_rows import Row, opened, rows_of
from audit.models import Event
from audit.pages import auditors
from audit.reading import envelope_of
from audit.subjects import subject_of

MOST_EVENTS = 500


@require_safe
@auditors
def subject(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    """Timeline and relations of one subject."""
    return render(request, "audit/subject.html", subject_context(tenant, subject_id))


@require_safe
@auditors
def event(request: HttpRequest, tenant: UUID, event_id: int) -> HttpResponse:
    """One event: facts, what it changed, and its way to a signed head."""
    found = Event.objects.filter(tenant=tenant, pk=event_id).first() if event_id < 2**63 else None
    if found is None:
        raise Http404
    filters = Filters(subject=str(found.subject_id), open=found.pk)
    row = rows_of(tenant, [found], filters)[0]
    context = {
        "here": "audit", "on": "log", "row": row, "opened": opened(tenant, row), "walk": walk(tenant, found),
        "changed": changed_by(tenant, envelope_of(found)),
    }  # fmt: skip
    return render(request, "audit/event.html", context)


@require_POST
@auditors
def searches(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """Save the search that the page shows, and show it again."""
    asked = request.POST
    made = saved.save(
        tenant, str(request.user.pk), asked.get("name", ""), asked.get("query", ""),
        is_shared=asked.get("is_shared") == "yes", correlation_id=correlation_of(request),
    )  # fmt: skip
    return redirect(f"/audit/?{made.query}")


@require_POST
@auditors
def saved_search(request: HttpRequest, tenant: UUID, search_id: UUID) -> HttpResponse:
    """Rename a search, share it or no longer."""
    found = saved.change(
        tenant, str(request.user.pk), search_id, name=request.POST.get("name", ""),
        is_shared=request.POST.get("is_shared") == "yes", correlation_id=correlation_of(request),
    )  # fmt: skip
    return redirect(f"/audit/?{found.query}")


@require_POST
@auditors
def delete_search(request: HttpRequest, tenant: UUID, search_id: UUID) -> HttpResponse:
    saved.delete(tenant, str(request.user.pk), search_id, correlation_id=correlation_of(request))
    return redirect("/audit/")


def subject_context(tenant: UUID, subject_id: UUID) -> dict[str, Any]:
    """The first 500 events, oldest first, with what is drawn of them."""
    about = subject_of(tenant, subject_id)
    events = list(Event.objects.filter(tenant=tenant, subject_id=about.id).order_by("seq")[: MOST_EVENTS + 1])
    rows: list[Row] = rows_of(tenant, events[:MOST_EVENTS], Filters(subject=str(about.id)))
    placed, lanes = timeline.moments(rows)
    found = relations(tenant, about, rows)
    return {
        "here": "audit", "on": "log", "subject": about, "report": None, "moments": placed, "lanes": lanes,
        "timeline": timeline.drawn(placed, lanes), "relations": found, "graph": drawn(about, found),
        "is_whole": len(events) <= MOST_EVENTS, "most": MOST_EVENTS,
    }  # fmt: skip


def correlation_of(request: HttpRequest) -> str:
    return getattr(request, "correlation_id", "")
