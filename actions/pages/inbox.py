"""The approvals inbox: what waits for my decision, what I asked others for, what I decided lately."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST

from actions.bulk import decide_many
from actions.models import Plan
from actions.pages.entry import access_of, correlation_of, page
from actions.pages.filters import Filters
from actions.pages.rows import PAGE, Row, dress, page_of, visible
from actions.pages.whose_turn import Group, yours_to_accept, yours_to_decide
from actions.states import State
from approvals.models import Decision
from approvals.quorum.eligibility import bulk_below, is_bulk_allowed
from audit.errors import Problem
from tenants.access import Access
from tenants.models import Environment

TABS = {"waiting": "Waits for you", "asked": "You asked others", "decided": "Decided by you"}
DECIDED_DAYS = 30
SOONEST = ("expires_at", "id")


@dataclass
class Entry:
    """A row of the inbox: the queue's row, and what only the inbox shows."""

    row: Row
    changes: int
    digest: str
    pick: bool = False
    decision: Decision | None = None

    @property
    def age(self) -> datetime:
        return self.row.request.opened_at if self.row.request else self.row.action.created_at


@page
def inbox(request: HttpRequest) -> HttpResponse:
    """The page, or only its list when the list asks for itself."""
    context = inbox_context(access_of(request), request)
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "approvals/_inbox_list.html" if is_fragment else "approvals/inbox.html", context)


@require_POST
@page
def bulk(request: HttpRequest) -> HttpResponse:
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
    return render(request, "approvals/bulk.html", {"here": "approvals", "results": results, "verdict": verdict})


def inbox_context(access: Access, request: HttpRequest) -> dict[str, Any]:
    """One page of one tab. A fixed number of queries, whatever there is."""
    asked = request.GET.get("tab", "")
    filters = Filters.read(request.GET, asked if asked in TABS else "waiting")
    entries, cursor, below = entries_of(access, filters, request.GET.get("after", ""))
    environments = Environment.objects.filter(pk__in=access.environments_where("view"))
    return {
        "here": "approvals",
        "filters": filters,
        "menus": [menu for menu in filters.choices(list(environments)) if menu["name"] in ("environment", "tier")],
        "tabs": [{"key": key, "title": title, "here": key == filters.tab} for key, title in TABS.items()],
        "entries": entries,
        "cursor": cursor,
        "below": below,
        "may_pick": any(entry.pick for entry in entries),
        "decided_days": DECIDED_DAYS,
    }


def entries_of(access: Access, filters: Filters, after: str) -> tuple[list[Entry], str, str]:
    """One page of a tab, the cursor of the next, and the tier below which several may be decided at once."""
    if filters.tab == "decided":
        found, cursor = _decided(access, filters, after)
        return found, cursor, ""
    if filters.tab == "asked":
        mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
        group = Group("asked", "", mine & Q(state=State.AWAITING_APPROVAL) & ~yours_to_accept(access), SOONEST)
    else:
        group = Group("waiting", "", yours_to_decide(access), SOONEST)
    actions, cursor = page_of(visible(access).filter(filters.condition()), group, after)
    rows, plans = dress([(a, group.key) for a in actions], access), _plans(actions)
    below = bulk_below(access.tenant.pk) if filters.tab == "waiting" else ""
    entries = [Entry(row, *plans.get(row.action.plan_id, (0, ""))) for row in rows]
    for entry in entries:
        entry.pick = entry.row.you and is_bulk_allowed(below, entry.row.action.tier)
    return entries, cursor, below


def _decided(access: Access, filters: Filters, after: str) -> tuple[list[Entry], str]:
    since = timezone.now() - timedelta(days=DECIDED_DAYS)
    seen = visible(access).filter(filters.condition())
    made = Decision.objects.filter(
        principal=access.principal,
        request__tenant=access.tenant,
        request__subject_kind="action",
        at__gte=since,
        request__subject_id__in=seen.values("pk"),
    )
    with suppress(ValueError):  # a cursor that is none starts again
        made = made.filter(pk__lt=UUID(after)) if after else made
    found = list(made.select_related("request").order_by("-pk")[: PAGE + 1])
    actions = {a.pk: a for a in seen.filter(pk__in=[d.request.subject_id for d in found])}
    rows = {row.action.pk: row for row in dress([(a, "decided") for a in actions.values()], access)}
    plans = _plans(actions.values())
    entries = [
        Entry(row, *plans.get(row.action.plan_id, (0, "")), decision=d)
        for d in found[:PAGE]
        if (row := rows.get(d.request.subject_id)) is not None
    ]
    return entries, str(found[PAGE - 1].pk) if len(found) > PAGE else ""


def _plans(actions: Any) -> dict[UUID | None, tuple[int, str]]:
    """Number of changes and digest by plan. One query."""
    plans = Plan.objects.filter(pk__in=[action.plan_id for action in actions])
    return {
        pk: (counts.get("changes", 0), digest) for pk, counts, digest in plans.values_list("pk", "counts", "digest")
    }


def waiting_count(access: Access) -> Q:
    """What the number beside the inbox counts."""
    in_sight = Q(tenant=access.tenant, environment__in=access.environments_where("view"))
    return in_sight & yours_to_decide(access)
