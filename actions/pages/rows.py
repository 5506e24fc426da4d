"""The queue's rows: pages of actions by keyset, dressed with what waits for whom, in a fixed number of queries."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core import signing
from django.db.models import Q, QuerySet
from django.utils import timezone

from actions.models import Action
from actions.pages.entry import address_of
from actions.pages.whose_turn import Group
from actions.scheduling.waits import waits_of
from actions.states import ENDED, State
from approvals.models import Decision, Request
from approvals.quorum.count import Quorum, blocking_change_requests, count_approvals, open_change_requests
from approvals.quorum.role_holders import role_holders
from tenants.access import Access, visible_to

PAGE = 25
HEAVY = ("parameters", "checks", "recovery", "result", "reason", "target")
"""Columns that a list must not read: parameters alone may be megabytes."""
URGENT = timedelta(hours=1)
HELD_BECAUSE = {
    "in_doubt": "in doubt",
    "rollback_failed": "undo failed",
    "replans": "keeps drifting",
    "operator": "held by a person",
    "checkpoint": "back at a checkpoint",
    "risk_spike": "risk spike",
    "quarantine": "in quarantine",
    "switch": "environment held",
}


@dataclass
class Row:
    """An action as the queue shows it."""

    action: Action
    group: str
    request: Request | None = None
    filled: list[str] = field(default_factory=list)
    needed: int = 0
    asked_changes: bool = False
    waits: str = ""
    your_role: str = ""
    you: bool = False
    yours: bool = False
    current: bool = False

    @property
    def address(self) -> str:
        return address_of(self.action)

    @property
    def is_done(self) -> bool:
        return self.action.state in ENDED

    @property
    def is_waiting(self) -> bool:
        return self.action.state == State.AWAITING_APPROVAL and self.request is not None

    @property
    def is_urgent(self) -> bool:
        due = self.action.expires_at
        return due is not None and due - timezone.now() < URGENT

    @property
    def flag(self) -> tuple[str, str]:
        """A word beside the title and its hue, where something about this row is worth one."""
        a = self.action
        if a.state == State.HELD:
            return HELD_BECAUSE.get(a.held_reason, a.held_reason), "warn"
        if self.waits:
            return f"waits: {self.waits}", "warn"
        if self.asked_changes:
            return "changes asked for", "warn"
        if self.yours and a.state == State.AWAITING_APPROVAL:
            return "you approved", "ok"
        if self.request is not None and self.request.kind == "acceptance":
            return "wants acceptance", "idle"
        if a.replans and a.state == State.AWAITING_APPROVAL:
            return "drifted, asked again", "warn"
        if a.stop_requested_at:
            return "stopping", "warn"
        code = (a.error or {}).get("code", "") if self.is_done else ""
        return code.replace("_", " ")[:40], "warn" if a.state == State.ROLLED_BACK else "bad" if code else "idle"


def visible(access: Access) -> QuerySet[Action, Any]:
    """The actions that the reader may view, light and joined for a list."""
    joined = Action.objects.select_related("environment", "requester").defer(*HEAVY)
    return visible_to(joined, access)


def page_of(base: QuerySet[Action, Any], group: Group, after: str = "") -> tuple[list[Action], str]:
    """One page of a group and the cursor of the next, empty at the end. A forged or stale cursor starts again."""
    found = base.filter(group.condition)
    if after and (key := read_cursor(after, group)):
        found = found.filter(_beyond(group.order, key))
    actions = list(found.order_by(*group.order)[: PAGE + 1])
    if len(actions) <= PAGE:
        return actions, ""
    last = actions[PAGE - 1]
    return actions[:PAGE], signing.dumps([group.key, *(_plain(getattr(last, c.lstrip("-"))) for c in group.order)])


def read_cursor(after: str, group: Group) -> list[Any] | None:
    try:
        key, *values = signing.loads(after)
    except (signing.BadSignature, ValueError):
        return None
    return values if key == group.key else None


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _beyond(order: Sequence[str], values: list[Any]) -> Q:
    """(a, b) > (x, y), spelled out: a > x, or a = x and b > y."""
    found, equal = Q(pk__in=[]), Q()
    for column, value in zip(order, values, strict=True):
        name, way = column.lstrip("-"), "lt" if column.startswith("-") else "gt"
        found |= equal & Q(**{f"{name}__{way}": value})
        equal &= Q(**{name: value})
    return found


def dress(pairs: Iterable[tuple[Action, str]], access: Access) -> list[Row]:
    """Rows for actions with their group's key: nine queries at most, whatever the number of actions."""
    rows = [Row(action, group) for action, group in pairs]
    waits = waits_of([r.action for r in rows if r.action.state != State.HELD])
    for r in rows:
        r.waits = waits[r.action.pk][0].short if r.action.pk in waits else ""
    waiting = {r.action.pk: r for r in rows if r.action.state == State.AWAITING_APPROVAL}
    if not waiting:
        return rows
    asked_for = Request.objects.filter(subject_id__in=list(waiting), state="open")
    requests = list(asked_for.select_related("requester__owner", "environment"))
    decisions: dict[UUID, list[Decision]] = defaultdict(list)
    for decision in Decision.objects.filter(request__in=requests).select_related("principal"):
        decisions[decision.request_id].append(decision)
    deciders = {d.principal_id for made in decisions.values() for d in made}
    held = role_holders(requests, {*deciders, access.principal.pk})
    asks = open_change_requests(requests)
    for request in requests:
        counted = count_approvals(request, decisions[request.pk], held[request.pk])
        waiting[request.subject_id].asked_changes = bool(blocking_change_requests(asks[request.pk]))
        _approval(waiting[request.subject_id], counted, access)
    return rows


def _approval(row: Row, counted: Quorum, access: Access) -> None:
    me, request = access.principal.pk, counted.request
    row.request = request
    row.needed = sum(s["count"] for s in request.required_approvals)
    row.filled = [str(d.principal) for approvals in counted.rows for d in approvals]
    row.yours = any(d.principal_id == me for d in counted.decisions)
    if request.kind == "acceptance":
        row.you = me in (row.action.requester_id, row.action.requester.owner_id)
        return
    barred = str(me) in request.excluded or row.yours or not access.can("approve", request.environment_id)
    row.your_role = "" if barred else counted.role_to_fill(me)
    row.you = bool(row.your_role)
