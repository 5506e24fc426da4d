"""The pages of incidents: the list, one incident, and the commands on it."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from actions.commands import incidents as incident_commands
from actions.pages.decorators import redirect_to, require_member
from actions.queries import incidents
from actions.queries.action_list import capped_count
from actions.queries.incidents import CHOICES, TABS, IncidentFilter
from audit.errors import NotFound
from audit.web import correlation_of
from tenants.access import Access, access_of
from tenants.models import Environment

FEW_EVENTS, FEW_LINES = 12, 40


@require_member
def list_incidents(request: HttpRequest) -> HttpResponse:
    """One page of one tab. A fixed number of queries, whatever there is."""
    access = access_of(request)
    tab = request.GET.get("tab", "")
    asked = {name: request.GET.get(name, "")[:80].replace("\x00", "") for name in ("environment", "severity", "ending")}
    wanted = IncidentFilter(tab if tab in TABS else "mine", **asked)
    rows, cursor = incidents.incident_page(access, wanted, _parse_cursor(request.GET.get("after", "")))
    context = {
        "here": "incidents",
        "wanted": wanted,
        "incidents": rows,
        "cursor": cursor,
        "address": _query_string(wanted),
        "is_filtered": any(asked.values()),
        "menus": _menus(access, wanted),
        "tabs": [
            {"key": key, "title": title, "here": key == wanted.tab, "count": _count(access, key)}
            for key, title in TABS.items()
        ],
    }
    return render(request, "incidents/incidents.html", context)


@require_member
def show_incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """What failed, what is known, what to do next, and who does it."""
    access = access_of(request)
    found = incident_commands.find_incident(access, incident_id)
    known = incidents.diagnostics_document(found)
    context = {
        "here": "incidents",
        "incident": found,
        "action": found.action,
        "steps": incidents.steps_for(access, found),
        "known": known,
        "events": known.get("events", [])[-FEW_EVENTS:],
        "log_tail": known.get("log_tail", [])[-FEW_LINES:],
        "machine": known.get("host", {}).get("sections", {}),
        "deliveries": incidents.deliveries(found),
        "talk": incidents.comments(found),
        "verbs": (may := incident_commands.allowed_incident_verbs(access, found)),
        "candidates": incident_commands.candidates(found) if "assign" in may else [],
        "is_mine": found.assignee_id == access.principal.pk,
        "operates": access.can("operate", found.environment_id),
    }
    return render(request, "incidents/incident.html", context)


@require_member
def download_diagnostics(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """The gathered document as a file."""
    found = incident_commands.find_incident(access_of(request), incident_id)
    document = incidents.read_diagnostics(found)
    if not document:
        raise NotFound("The diagnostics are still being gathered. Look again in a moment.")
    name = f'attachment; filename="interlock-{found.pk}-diagnostics.json"'
    return HttpResponse(document, content_type="application/json", headers={"Content-Disposition": name})


@require_POST
@require_member
def assign_incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    to = request.POST.get("assignee", "")
    done = incident_commands.assign(
        access_of(request), incident_id, to, _read_text(request, "note"), **_correlation(request)
    )
    messages.success(request, f"Assigned to {done.assignee}, who is notified.")
    return redirect_to(request, f"/incidents/{incident_id}/")


@require_POST
@require_member
def acknowledge_incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    incident_commands.acknowledge(access_of(request), incident_id, _read_text(request, "note"), **_correlation(request))
    messages.success(request, "Acknowledged: it is yours.")
    return redirect_to(request, f"/incidents/{incident_id}/")


@require_POST
@require_member
def decline_incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    incident_commands.decline(access_of(request), incident_id, _read_text(request, "reason"), **_correlation(request))
    messages.warning(request, "Declined. The incident is unassigned and escalated.")
    return redirect_to(request, f"/incidents/{incident_id}/")


@require_POST
@require_member
def resolve_incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    incident_commands.resolve(access_of(request), incident_id, _read_text(request, "note"), **_correlation(request))
    messages.success(request, "Resolved.")
    return redirect_to(request, f"/incidents/{incident_id}/")


@require_POST
@require_member
def comment_on_incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    incident_commands.comment(access_of(request), incident_id, _read_text(request, "text"), **_correlation(request))
    return redirect_to(request, f"/incidents/{incident_id}/#talk")


@require_POST
@require_member
def resend_delivery(request: HttpRequest, incident_id: UUID, delivery_id: UUID) -> HttpResponse:
    incident_commands.send_again(access_of(request), incident_id, delivery_id, **_correlation(request))
    messages.success(request, "It is sent again.")
    return redirect_to(request, f"/incidents/{incident_id}/#told")


def _correlation(request: HttpRequest) -> dict[str, Any]:
    return {"correlation_id": correlation_of(request)}


def _read_text(request: HttpRequest, name: str) -> str:
    return request.POST.get(name, "").replace("\x00", "").strip()[:4_000]


def _count(access: Access, tab: str) -> str:
    if tab == "all":
        return ""
    return capped_count(incidents.incident_rows(access).filter(IncidentFilter(tab).condition(access)))


def _menus(access: Access, wanted: IncidentFilter) -> list[dict[str, Any]]:
    places = Environment.objects.filter(pk__in=access.environments_where("view")).order_by("slug")
    options = {"environment": [(p.slug, p.name) for p in places]}
    options |= {name: [(word, word.replace("_", " ")) for word in words] for name, words in CHOICES.items()}
    return [{"name": name, "value": getattr(wanted, name), "options": found} for name, found in options.items()]


def _query_string(wanted: IncidentFilter) -> str:
    named = {n: getattr(wanted, n) for n in ("environment", "severity", "ending")}
    return "?" + "&".join([f"tab={wanted.tab}", *(f"{n}={quote(v)}" for n, v in named.items() if v)])


def _parse_cursor(text: str) -> UUID | None:
    """A cursor that is none starts again."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
