"""The queue with its preview, and the approvals inbox."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from actions.commands.review import decide_many
from actions.controls.freeze import visible_freezes
from actions.lifecycle.allowed import allowed_verbs, find_action
from actions.models import Action
from actions.pages.action.changes import load_changes
from actions.pages.decorators import require_member
from actions.queries.action_list import (
    ActionRow,
    build_rows,
    capped_count,
    fetch_page,
    groups_for,
    tab_condition,
    visible_actions,
)
from actions.queries.inbox import DECIDED_DAYS, INBOX_TABS, QUEUE_TABS, Filters, fetch_entries
from audit.errors import NotFound, Problem
from audit.ui import charts
from audit.web import correlation_of
from tenants.access import Access, access_of
from tenants.models import Environment


@require_member
def queue_page(request: HttpRequest) -> HttpResponse:
    """The page, or only its list when the list asks for itself."""
    access = access_of(request)
    context = queue_context(access, request)
    first = next((r for g in context["groups"] for r in g["rows"]), None)
    is_fragment = request.headers.get("HX-Request") == "true"
    if first is not None and not is_fragment:
        first.current = True
        context |= preview_context(access, find_action(access, first.action.pk), first)
    return render(request, "queue/_groups.html" if is_fragment else "queue/queue.html", context)


@require_member
def more_rows(request: HttpRequest, group: str) -> HttpResponse:
    """The next page of one group: rows, and the button for those after."""
    access = access_of(request)
    filters = Filters.read(request.GET, _current_tab(request, access))
    found = next((g for g in groups_for(filters.tab, access) if g.key == group), None)
    if found is None:
        raise NotFound
    actions, cursor = fetch_page(
        visible_actions(access).filter(filters.condition()), found, request.GET.get("after", "")
    )
    rows = build_rows([(a, found.key) for a in actions], access)
    return render(request, "queue/_more.html", {"rows": rows, "group": found, "cursor": cursor, "filters": filters})


@require_member
def preview_panel(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The preview beside the list."""
    access = access_of(request)
    action = find_action(access, action_id)
    row = build_rows([(action, "")], access)[0]
    return render(request, "queue/_preview.html", preview_context(access, action, row))


@require_member
def queue_live(request: HttpRequest) -> HttpResponse:
    """What is shown, as it is now, in place; and how many came or moved since, which waits until it is asked for."""
    access = access_of(request)
    filters = Filters.read(request.GET, _current_tab(request, access))
    shown = dict(pair.split(":", 1) for pair in request.GET.get("shown", "").split(",")[:400] if ":" in pair)
    base, groups = visible_actions(access).filter(filters.condition()), groups_for(filters.tab, access)
    rows = build_rows(
        [(a, _group_key(shown[str(a.pk)])) for a in visible_actions(access).filter(pk__in=_parse_ids(shown))], access
    )
    now = {
        str(pk): g.key
        for g in groups
        for pk in base.filter(g.condition, pk__in=_parse_ids(shown)).values_list("pk", flat=True)
    }
    came = {str(a.pk) for g in groups for a in fetch_page(base, g)[0]} - shown.keys()
    moved = {pk for pk, key in shown.items() if now.get(pk) != key}
    context = {"rows": rows, "updates": len(came | moved), "filters": filters, "tabs": _tabs(access, filters.tab)}
    return render(request, "queue/_live.html", context | {"holds": visible_freezes(access)})


def queue_context(access: Access, request: HttpRequest) -> dict[str, Any]:
    """Groups with their first rows, tabs with their numbers, filters. A fixed number of queries."""
    filters = Filters.read(request.GET, _current_tab(request, access))
    base = visible_actions(access).filter(filters.condition())
    pages = [(g, *fetch_page(base, g)) for g in groups_for(filters.tab, access)]
    rows = build_rows([(a, g.key) for g, actions, _ in pages for a in actions], access)
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
        "holds": visible_freezes(access),
    }


def _current_tab(request: HttpRequest, access: Access) -> str:
    """The tab asked for; without one, what needs you, or everything open when nothing does."""
    asked = request.GET.get("tab", "")
    if asked in QUEUE_TABS:
        return asked
    return "needs" if capped_count(visible_actions(access).filter(tab_condition("needs", access))) else "all"


def _tabs(access: Access, here: str) -> list[dict[str, Any]]:
    counted = {key: tab_condition(key, access) for key in QUEUE_TABS}
    return [
        {
            "key": key,
            "title": title,
            "here": key == here,
            "count": "" if q is None else capped_count(visible_actions(access).filter(q)),
        }
        for (key, title), q in zip(QUEUE_TABS.items(), counted.values(), strict=True)
    ]


def _group_key(group: str) -> str:
    """A group's key as the browser sent it back, or nothing if it is not one."""
    return group if group.replace("-", "").isalpha() else ""


def _parse_ids(texts: Any) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


# The preview beside the queue. Low and medium tiers are decided here.


TIERS_DECIDED_HERE = ("low", "medium")
MAX_FILES = 6


def preview_context(access: Access, action: Action, row: ActionRow) -> dict[str, Any]:
    """The context of `_peek.html` for an action found through the reader's access."""
    plan, verbs = action.plan, allowed_verbs(access, action, row.request)
    changes = load_changes(plan, action.tenant_id)
    blast = plan.blast if plan else None
    return {
        "action": action,
        "plan": plan,
        "row": row,
        "verbs": verbs,
        "factors": [f for f in blast["factors"] if f["points"]][:3] if blast else [],
        "blast_chart": charts.blast([f["points"] for f in blast["factors"] if f["points"]]) if blast else "",
        "changes": changes[:MAX_FILES],
        "changes_more": max(0, len(changes) - MAX_FILES),
        "reasons": [r for r in plan.verdict.get("reasons", []) if r["effect"] != "raise"] if plan else [],
        "may_decide_here": action.tier in TIERS_DECIDED_HERE and "approve" in verbs and len(changes) <= MAX_FILES,
    }


# The approvals inbox: actions that await the reader's decision, their own requests, their latest decisions.


@require_member
def inbox_page(request: HttpRequest) -> HttpResponse:
    """The page, or only its list when the list asks for itself."""
    context = inbox_context(access_of(request), request)
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "approvals/_list.html" if is_fragment else "approvals/inbox.html", context)


@require_POST
@require_member
def decide_in_bulk(request: HttpRequest) -> HttpResponse:
    """Decide the chosen ones, each by itself, and say what came of each."""
    access, sent = access_of(request), request.POST
    chosen = [(pk, digest) for pick in sent.getlist("pick") for pk, _, digest in [pick.partition(":")]]
    approved, comment = sent.get("decision") == "approve", sent.get("comment", "")
    try:
        results = decide_many(
            access, chosen, approved=approved, comment=comment, correlation_id=correlation_of(request)
        )
    except Problem as problem:
        messages.error(request, problem.detail)
        results = []
    verdict = "Approved" if approved else "Rejected"
    return render(request, "approvals/bulk_result.html", {"here": "approvals", "results": results, "verdict": verdict})


def inbox_context(access: Access, request: HttpRequest) -> dict[str, Any]:
    """One page of one tab. A fixed number of queries, whatever there is."""
    asked = request.GET.get("tab", "")
    filters = Filters.read(request.GET, asked if asked in INBOX_TABS else "waiting")
    entries, cursor, below = fetch_entries(access, filters, request.GET.get("after", ""))
    environments = Environment.objects.filter(pk__in=access.environments_where("view"))
    return {
        "here": "approvals",
        "filters": filters,
        "menus": [menu for menu in filters.choices(list(environments)) if menu["name"] in ("environment", "tier")],
        "tabs": [{"key": key, "title": title, "here": key == filters.tab} for key, title in INBOX_TABS.items()],
        "entries": entries,
        "cursor": cursor,
        "below": below,
        "may_pick": any(entry.pick for entry in entries),
        "decided_days": DECIDED_DAYS,
    }
