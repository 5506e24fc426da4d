"""The filters of the queue and the inbox: read from the address, turned into conditions."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from django.http import QueryDict
from django.utils import timezone

from actions.models import Plan
from actions.models.states import State
from actions.queries.action_list import (
    PAGE_SIZE,
    ActionGroup,
    ActionRow,
    awaiting_acceptance_by,
    awaiting_decision_by,
    build_rows,
    fetch_page,
    visible_actions,
)
from actions.types.registry import executors
from approvals.models import Decision
from approvals.quorum.eligibility import bulk_below, is_bulk_allowed
from audit.ui.glyphs import LABELS, TIERS
from tenants.access import Access
from tenants.models import Environment

QUEUE_TABS = {"needs": "Needs you", "all": "All open", "mine": "Mine", "ended": "Ended"}
SEARCHED_DAYS = 90
"""How far back a search among ended actions goes; without a bound it would read every action."""


@dataclass(frozen=True)
class Filters:
    """The filters that the reader chose. Unknown values are dropped, never an error: people edit addresses by hand."""

    tab: str
    q: str = ""
    environment: str = ""
    state: str = ""
    tier: str = ""
    type: str = ""

    @classmethod
    def read(cls, query: QueryDict, tab: str) -> "Filters":
        def one_of(name: str, known: Any) -> str:
            value = query.get(name, "")
            return value if value in known else ""

        return cls(
            tab=tab,
            q=query.get("q", "").strip()[:200].replace("\x00", ""),
            environment=query.get("environment", "")[:63].replace("\x00", ""),
            state=one_of("state", [s.value for s in State]),
            tier=one_of("tier", TIERS),
            type=one_of("type", executors()),
        )

    def condition(self) -> Q:
        found = Q()
        for name in ("state", "tier", "type"):
            if value := getattr(self, name):
                found &= Q(**{name: value})
        if self.environment:
            found &= Q(environment__slug=self.environment)
        return found & self._search() if self.q else found

    def _search(self) -> Q:
        text = Q(title__icontains=self.q) | Q(ticket__icontains=self.q) | Q(type__icontains=self.q)
        text |= Q(requester__display_name__icontains=self.q) | Q(requester__username__icontains=self.q)
        with suppress(ValueError):
            text |= Q(pk=UUID(self.q))
        since = timezone.now() - timedelta(days=SEARCHED_DAYS)
        return text & Q(pk__gte=smallest_id_at(since.timestamp())) if self.tab in ("ended", "mine") else text

    def chips(self) -> list[dict[str, str]]:
        """The active filters, each with the address that removes it."""
        shown = {
            "environment": self.environment,
            "state": LABELS.get(self.state, ""),
            "tier": self.tier,
            "type": self.type,
        }
        return [{"key": k, "value": v, "without": self.address(**{k: ""})} for k, v in shown.items() if v]

    def address(self, **changed: str) -> str:
        """The query string of these filters with some changed."""
        asked = {**vars(self), **changed}
        return "?" + urlencode({k: v for k, v in asked.items() if v})

    def choices(self, environments: list[Environment]) -> list[dict[str, Any]]:
        """The menus of the filter form."""
        menus = {
            "environment": [(e.slug, e.name) for e in environments],
            "state": [(s.value, LABELS[s.value]) for s in State],
            "tier": [(t, t.capitalize()) for t in TIERS],
            "type": [(name, it.title) for name, it in executors().items()],
        }
        return [{"name": name, "options": options, "value": getattr(self, name)} for name, options in menus.items()]

    def any(self) -> bool:
        return bool(self.q or self.chips())


def smallest_id_at(seconds: float) -> UUID:
    """The smallest UUIDv7 of a moment: ids sort by time, so it bounds a search without another index."""
    return UUID(int=(int(seconds * 1000) << 80) | (7 << 76) | (2 << 62))


INBOX_TABS = {"waiting": "Awaiting you", "asked": "Your requests", "decided": "Decided by you"}


DECIDED_DAYS = 30


SOONEST_FIRST = ("expires_at", "id")


@dataclass
class InboxEntry:
    """A row of the inbox: the queue's row with the inbox's own columns."""

    row: ActionRow
    changes: int
    digest: str
    pick: bool = False
    decision: Decision | None = None

    @property
    def age(self) -> datetime:
        return self.row.request.opened_at if self.row.request else self.row.action.created_at


def fetch_entries(access: Access, filters: Filters, after: str) -> tuple[list[InboxEntry], str, str]:
    """One page of a tab, the cursor of the next, and the tier below which several may be decided at once."""
    if filters.tab == "decided":
        found, cursor = _fetch_decided(access, filters, after)
        return found, cursor, ""
    if filters.tab == "asked":
        mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
        group = ActionGroup(
            "asked", "", mine & Q(state=State.AWAITING_APPROVAL) & ~awaiting_acceptance_by(access), SOONEST_FIRST
        )
    else:
        group = ActionGroup("waiting", "", awaiting_decision_by(access), SOONEST_FIRST)
    actions, cursor = fetch_page(visible_actions(access).filter(filters.condition()), group, after)
    rows, plans = build_rows([(a, group.key) for a in actions], access), _plan_counts(actions)
    below = bulk_below(access.tenant.pk) if filters.tab == "waiting" else ""
    entries = [InboxEntry(row, *plans.get(row.action.plan_id, (0, ""))) for row in rows]
    for entry in entries:
        entry.pick = entry.row.you and is_bulk_allowed(below, entry.row.action.tier)
    return entries, cursor, below


def _fetch_decided(access: Access, filters: Filters, after: str) -> tuple[list[InboxEntry], str]:
    since = timezone.now() - timedelta(days=DECIDED_DAYS)
    seen = visible_actions(access).filter(filters.condition())
    made = Decision.objects.filter(
        principal=access.principal,
        request__tenant=access.tenant,
        request__subject_kind="action",
        at__gte=since,
        request__subject_id__in=seen.values("pk"),
    )
    with suppress(ValueError):  # an invalid cursor starts again
        made = made.filter(pk__lt=UUID(after)) if after else made
    found = list(made.select_related("request").order_by("-pk")[: PAGE_SIZE + 1])
    actions = {a.pk: a for a in seen.filter(pk__in=[d.request.subject_id for d in found])}
    rows = {row.action.pk: row for row in build_rows([(a, "decided") for a in actions.values()], access)}
    plans = _plan_counts(actions.values())
    entries = [
        InboxEntry(row, *plans.get(row.action.plan_id, (0, "")), decision=d)
        for d in found[:PAGE_SIZE]
        if (row := rows.get(d.request.subject_id)) is not None
    ]
    return entries, str(found[PAGE_SIZE - 1].pk) if len(found) > PAGE_SIZE else ""


def _plan_counts(actions: Any) -> dict[UUID | None, tuple[int, str]]:
    """Number of changes and digest by plan. One query."""
    plans = Plan.objects.filter(pk__in=[action.plan_id for action in actions])
    return {
        pk: (counts.get("changes", 0), digest) for pk, counts, digest in plans.values_list("pk", "counts", "digest")
    }


def inbox_condition(access: Access) -> Q:
    """The number beside the inbox."""
    in_sight = Q(tenant=access.tenant, environment__in=access.environments_where("view"))
    return in_sight & awaiting_decision_by(access)
