"""Hand-off: what did I get, what does nobody have, and what is to be done about it?"""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from actions.handoff import reading, verbs
from actions.handoff.reading import CHOICES, TABS, Wanted
from actions.pages.entry import access_of, correlation_of, go, page
from actions.pages.whose_turn import capped
from audit.errors import NotFound
from tenants.access import Access
from tenants.models import Environment

FEW_EVENTS, FEW_LINES = 12, 40


@page
def tickets(request: HttpRequest) -> HttpResponse:
    """One page of one tab. A fixed number of queries, whatever there is."""
    access = access_of(request)
    tab = request.GET.get("tab", "")
    asked = {name: request.GET.get(name, "")[:80].replace("\x00", "") for name in ("environment", "severity", "ending")}
    wanted = Wanted(tab if tab in TABS else "mine", **asked)
    rows, cursor = reading.page_of(access, wanted, _id(request.GET.get("after", "")))
    context = {
        "here": "handoff",
        "wanted": wanted,
        "tickets": rows,
        "cursor": cursor,
        "address": _address(wanted),
        "is_filtered": any(asked.values()),
        "menus": _menus(access, wanted),
        "tabs": [
            {"key": key, "title": title, "here": key == wanted.tab, "count": _count(access, key)}
            for key, title in TABS.items()
        ],
    }
    return render(request, "handoff/tickets.html", context)


@page
def ticket(request: HttpRequest, ticket_id: UUID) -> HttpResponse:
    """What failed, what is known, what to do next, and who does it."""
    access = access_of(request)
    found = verbs.find_ticket(access, ticket_id)
    known = reading.known(found)
    context = {
        "here": "handoff",
        "ticket": found,
        "action": found.action,
        "steps": reading.steps_for(access, found),
        "known": known,
        "events": known.get("events", [])[-FEW_EVENTS:],
        "log_tail": known.get("log_tail", [])[-FEW_LINES:],
        "machine": known.get("host", {}).get("sections", {}),
        "deliveries": reading.deliveries(found),
        "talk": reading.comments(found),
        "verbs": (may := verbs.allowed(access, found)),
        "candidates": verbs.candidates(found) if "assign" in may else [],
        "is_mine": found.assignee_id == access.principal.pk,
        "operates": access.can("operate", found.environment_id),
    }
    return render(request, "handoff/ticket.html", context)


@page
def diagnostics(request: HttpRequest, ticket_id: UUID) -> HttpResponse:
    """The gathered document as a file."""
    found = verbs.find_ticket(access_of(request), ticket_id)
    document = reading.diagnostics(found)
    if not document:
        raise NotFound("The diagnostics are still being gathered. Look again in a moment.")
    name = f'attachment; filename="interlock-{found.pk}-diagnostics.json"'
    return HttpResponse(document, content_type="application/json", headers={"Content-Disposition": name})


@require_POST
@page
def assign(request: HttpRequest, ticket_id: UUID) -> HttpResponse:
    to = request.POST.get("assignee", "")
    done = verbs.assign(access_of(request), ticket_id, to, _text(request, "note"), **_via(request))
    messages.success(request, f"Handed to {done.assignee}, who is told.")
    return go(request, f"/handoff/{ticket_id}/")


@require_POST
@page
def acknowledge(request: HttpRequest, ticket_id: UUID) -> HttpResponse:
    verbs.acknowledge(access_of(request), ticket_id, _text(request, "note"), **_via(request))
    messages.success(request, "Acknowledged: it is yours.")
    return go(request, f"/handoff/{ticket_id}/")


@require_POST
@page
def decline(request: HttpRequest, ticket_id: UUID) -> HttpResponse:
    verbs.decline(access_of(request), ticket_id, _text(request, "reason"), **_via(request))
    messages.warning(request, "Declined. Nobody has it now, and those who look after that are told.")
    return go(request, f"/handoff/{ticket_id}/")


@require_POST
@page
def resolve(request: HttpRequest, ticket_id: UUID) -> HttpResponse:
    verbs.resolve(access_of(request), ticket_id, _text(request, "note"), **_via(request))
    messages.success(request, "Resolved.")
    return go(request, f"/handoff/{ticket_id}/")


@require_POST
@page
def comment(request: HttpRequest, ticket_id: UUID) -> HttpResponse:
    verbs.comment(access_of(request), ticket_id, _text(request, "text"), **_via(request))
    return go(request, f"/handoff/{ticket_id}/#talk")


@require_POST
@page
def send_again(request: HttpRequest, ticket_id: UUID, delivery_id: UUID) -> HttpResponse:
    verbs.send_again(access_of(request), ticket_id, delivery_id, **_via(request))
    messages.success(request, "It is sent again.")
    return go(request, f"/handoff/{ticket_id}/#told")


def _via(request: HttpRequest) -> dict[str, Any]:
    return {"correlation_id": correlation_of(request)}


def _text(request: HttpRequest, name: str) -> str:
    return request.POST.get(name, "").replace("\x00", "").strip()[:4_000]


def _count(access: Access, tab: str) -> str:
    if tab == "all":
        return ""
    return capped(reading.rows_of(access).filter(Wanted(tab).condition(access)))


def _menus(access: Access, wanted: Wanted) -> list[dict[str, Any]]:
    places = Environment.objects.filter(pk__in=access.environments_where("view")).order_by("slug")
    options = {"environment": [(p.slug, p.name) for p in places]}
    options |= {name: [(word, word.replace("_", " ")) for word in words] for name, words in CHOICES.items()}
    return [{"name": name, "value": getattr(wanted, name), "options": found} for name, found in options.items()]


def _address(wanted: Wanted) -> str:
    named = {n: getattr(wanted, n) for n in ("environment", "severity", "ending")}
    return "?" + "&".join([f"tab={wanted.tab}", *(f"{n}={quote(v)}" for n, v in named.items() if v)])


def _id(text: str) -> UUID | None:
    """A cursor that is none starts again."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
