"""The queue: what needs me?"""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.pages.entry import access_of, page
from actions.pages.filters import TABS, Filters
from actions.pages.peek import peek_context
from actions.pages.rows import dress, page_of, visible
from actions.pages.whose_turn import capped, count_of, groups_of
from actions.scheduling.places import holds_seen
from actions.verbs import find
from audit.errors import NotFound
from tenants.access import Access
from tenants.models import Environment


@page
def queue(request: HttpRequest) -> HttpResponse:
    """The page, or only its list when the list asks for itself."""
    access = access_of(request)
    context = queue_context(access, request)
    first = next((r for g in context["groups"] for r in g["rows"]), None)
    is_fragment = request.headers.get("HX-Request") == "true"
    if first is not None and not is_fragment:
        first.current = True
        context |= peek_context(access, find(access, first.action.pk), first)
    return render(request, "actions/_inbox.html" if is_fragment else "actions/queue.html", context)


@page
def more(request: HttpRequest, group: str) -> HttpResponse:
    """The next page of one group: rows, and the button for those after."""
    access = access_of(request)
    filters = Filters.read(request.GET, _tab(request, access))
    found = next((g for g in groups_of(filters.tab, access) if g.key == group), None)
    if found is None:
        raise NotFound
    actions, cursor = page_of(visible(access).filter(filters.condition()), found, request.GET.get("after", ""))
    rows = dress([(a, found.key) for a in actions], access)
    return render(request, "actions/_more.html", {"rows": rows, "group": found, "cursor": cursor, "filters": filters})


@page
def peek(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The preview beside the list."""
    access = access_of(request)
    action = find(access, action_id)
    row = dress([(action, "")], access)[0]
    return render(request, "actions/_peek.html", peek_context(access, action, row))


@page
def live(request: HttpRequest) -> HttpResponse:
    """What is shown, as it is now, in place; and how many came or moved since, which waits until it is asked for."""
    access = access_of(request)
    filters = Filters.read(request.GET, _tab(request, access))
    shown = dict(pair.split(":", 1) for pair in request.GET.get("shown", "").split(",")[:400] if ":" in pair)
    base, groups = visible(access).filter(filters.condition()), groups_of(filters.tab, access)
    rows = dress([(a, _word(shown[str(a.pk)])) for a in visible(access).filter(pk__in=_ids(shown))], access)
    now = {
        str(pk): g.key
        for g in groups
        for pk in base.filter(g.condition, pk__in=_ids(shown)).values_list("pk", flat=True)
    }
    came = {str(a.pk) for g in groups for a in page_of(base, g)[0]} - shown.keys()
    moved = {pk for pk, key in shown.items() if now.get(pk) != key}
    context = {"rows": rows, "updates": len(came | moved), "filters": filters, "tabs": _tabs(access, filters.tab)}
    return render(request, "actions/_queue_live.html", context | {"holds": holds_seen(access)})


def queue_context(access: Access, request: HttpRequest) -> dict[str, Any]:
    """Groups with their first rows, tabs with their numbers, filters. A fixed number of queries."""
    filters = Filters.read(request.GET, _tab(request, access))
    base = visible(access).filter(filters.condition())
    pages = [(g, *page_of(base, g)) for g in groups_of(filters.tab, access)]
    rows = dress([(a, g.key) for g, actions, _ in pages for a in actions], access)
    by_group = {g.key: [r for r in rows if r.group == g.key] for g, _, _ in pages}
    environments = list(Environment.objects.filter(pk__in=access.environments_where("view")))
    return {
        "here": "queue",
        "filters": filters,
        "menus": filters.choices(environments),
        "tabs": _tabs(access, filters.tab),
        "groups": [
            {"group": g, "rows": by_group[g.key], "cursor": cursor} for g, _, cursor in pages if by_group[g.key]
        ],
        "may_propose": bool(access.environments_where("propose")),
        "holds": holds_seen(access),
    }


def _tab(request: HttpRequest, access: Access) -> str:
    """The tab asked for; without one, what needs you, or everything open when nothing does."""
    asked = request.GET.get("tab", "")
    if asked in TABS:
        return asked
    return "needs" if capped(visible(access).filter(count_of("needs", access))) else "all"


def _tabs(access: Access, here: str) -> list[dict[str, Any]]:
    counted = {key: count_of(key, access) for key in TABS}
    return [
        {
            "key": key,
            "title": title,
            "here": key == here,
            "count": "" if q is None else capped(visible(access).filter(q)),
        }
        for (key, title), q in zip(TABS.items(), counted.values(), strict=True)
    ]


def _word(group: str) -> str:
    """A group's key as the browser sent it back, or nothing if it is not one."""
    return group if group.replace("-", "").isalpha() else ""


def _ids(texts: Any) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found
