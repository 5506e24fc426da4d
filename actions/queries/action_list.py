"""The queue: its groups as conditions on actions, and its rows. No query grows with the number of actions."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core import signing
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from actions.controls.blockers import find_blockers
from actions.controls.freeze import FREEZE
from actions.models import Action
from actions.models.states import ENDED, LIVE, HeldReason, State
from approvals.models import Decision, Request
from approvals.quorum.count import Quorum, blocking_change_requests, count_approvals, open_change_requests
from approvals.quorum.role_holders import role_holders, role_tenures_in
from tenants.access import Access, visible_to

MAX_COUNTED = 99
RUNNING = (State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK, State.HELD)


@dataclass(frozen=True)
class ActionGroup:
    """One heading of the queue. `order` is the keyset: the columns rows are sorted and paged by."""

    key: str
    title: str
    condition: Q
    order: tuple[str, ...] = ("-id",)
    note: str = ""


def awaiting_decision_by(access: Access) -> Q:
    """
    Open requests with a required approval for a role that the reader held before they opened, and not decided by the
    reader.

    One query, for since when the reader holds which role. Other exclusions (a delegation chain) are in each request,
    and checked per row.
    """
    me = access.principal
    where = dict.fromkeys(access.environments_where("approve"), access.tenant.pk)
    if not access.is_person() or not where:
        return Q(pk__in=[])
    asked, standing = Q(pk__in=[]), role_tenures_in(where, {me.pk})
    for environment, roles in standing.items():
        for role, since in roles.items():
            asked |= Q(environment_id=environment, opened_at__gte=since[me.pk]) & _names_role(role)
    open_ones = Request.objects.alias(asked_for=Cast("required_approvals", TextField())).filter(
        asked, subject_id=OuterRef("pk"), state="open", kind="approval"
    )
    waiting = Exists(open_ones.exclude(decisions__principal=me))
    others = ~Q(requester=me) & ~Q(requester__owner=me)
    places = [environment for environment, roles in standing.items() if roles]
    return Q(state=State.AWAITING_APPROVAL, environment__in=places) & others & Q(waiting)


def _names_role(role: str) -> Q:
    """Whether the text of `required_approvals` contains a role's name. A false match only costs a second check."""
    return Q(asked_for__contains=json.dumps(role)) | Q(asked_for__contains=json.dumps(role, ensure_ascii=False))


def awaiting_acceptance_by(access: Access) -> Q:
    """Changes of the reader, or of an agent of theirs, that need no approval and run once the diff is accepted."""
    asked = Request.objects.filter(subject_id=OuterRef("pk"), state="open", kind="acceptance")
    mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
    return Q(state=State.AWAITING_APPROVAL) & mine & Q(Exists(asked))


def awaiting_resume_by(access: Access) -> Q:
    """All but actions that resume by themselves when their environment is unfrozen."""
    return Q(state=State.HELD, environment__in=access.environments_where("operate")) & ~Q(held_reason=FREEZE)


def needs_attention_from(access: Access) -> Q:
    """All actions that wait for the reader, in environments that they may view."""
    yours = awaiting_decision_by(access) | awaiting_acceptance_by(access) | awaiting_resume_by(access)
    return Q(tenant=access.tenant, environment__in=access.environments_where("view")) & yours


def groups_for(tab: str, access: Access) -> list[ActionGroup]:
    """The groups of a tab, in reading order."""
    decide, accept, settle = awaiting_decision_by(access), awaiting_acceptance_by(access), awaiting_resume_by(access)
    soonest = ("expires_at", "id")
    needs = [
        ActionGroup("decide", "Needs your decision", decide, soonest, "soonest expiry first"),
        ActionGroup("accept", "Accept your own change", accept, soonest, "no approval needed"),
        ActionGroup("settle", "Held: needs an operator", settle),
    ]
    mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
    if tab == "needs":
        return needs
    if tab == "mine":
        return [
            ActionGroup("mine", "Open", mine & Q(state__in=LIVE)),
            ActionGroup("mine-ended", "Ended", mine & Q(state__in=ENDED)),
        ]
    if tab == "ended":
        return [ActionGroup("ended", "Ended", Q(state__in=ENDED), note="newest first")]
    waiting = (State.AWAITING_APPROVAL, State.QUEUED, State.PREFLIGHT, State.APPROVED)
    return [
        *needs,
        ActionGroup("waiting", "Waiting on others", Q(state__in=waiting) & ~decide & ~accept),
        ActionGroup("running", "In progress", Q(state__in=RUNNING) & ~settle),
    ]


def tab_condition(tab: str, access: Access) -> Q | None:
    """The actions that a tab's number counts; ended ones are not counted."""
    mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
    return {"needs": needs_attention_from(access), "all": Q(state__in=LIVE), "mine": mine & Q(state__in=LIVE)}.get(tab)


def capped_count(rows: QuerySet[Any, Any]) -> str:
    """A count that costs at most 100 rows: `""` for none, `99+` for more than can be counted."""
    n = rows.order_by()[: MAX_COUNTED + 1].count()
    return f"{MAX_COUNTED}+" if n > MAX_COUNTED else str(n or "")


# Rows of the queue: pages by keyset, with what each action waits for, in a fixed number of queries.


PAGE_SIZE = 25
HEAVY = ("parameters", "checks", "recovery", "result", "reason", "target")
"""Columns that a list must not read: parameters may be megabytes."""
URGENT_WITHIN = timedelta(hours=1)


@dataclass
class ActionRow:
    """An action as the queue shows it."""

    action: Action
    group: str
    request: Request | None = None
    filled: list[str] = field(default_factory=list)
    needed: int = 0
    has_changes_requested: bool = False
    waits: str = ""
    your_role: str = ""
    you: bool = False
    yours: bool = False
    current: bool = False

    @property
    def address(self) -> str:
        return page_url(self.action)

    @property
    def is_done(self) -> bool:
        return self.action.state in ENDED

    @property
    def is_waiting(self) -> bool:
        return self.action.state == State.AWAITING_APPROVAL and self.request is not None

    @property
    def is_urgent(self) -> bool:
        due = self.action.expires_at
        return due is not None and due - timezone.now() < URGENT_WITHIN

    @property
    def flag(self) -> tuple[str, str]:
        """A word beside the title and its hue, where the row needs one."""
        a = self.action
        if a.state == State.HELD:
            return HeldReason(a.held_reason).label, "warn"
        if self.waits:
            return f"waiting: {self.waits}", "warn"
        if self.has_changes_requested:
            return "changes requested", "warn"
        if self.yours and a.state == State.AWAITING_APPROVAL:
            return "you approved", "ok"
        if self.request is not None and self.request.kind == "acceptance":
            return "awaits acceptance", "idle"
        if a.replans and a.state == State.AWAITING_APPROVAL:
            return "drifted, approval requested again", "warn"
        if a.stop_requested_at:
            return "stopping", "warn"
        code = (a.error or {}).get("code", "") if self.is_done else ""
        return code.replace("_", " ")[:40], "warn" if a.state == State.ROLLED_BACK else "bad" if code else "idle"


def visible_actions(access: Access) -> QuerySet[Action, Any]:
    """The actions that the reader may view, without large columns, joined for a list."""
    joined = Action.objects.select_related("environment", "requester").defer(*HEAVY)
    return visible_to(joined, access)


def fetch_page(base: QuerySet[Action, Any], group: ActionGroup, after: str = "") -> tuple[list[Action], str]:
    """One page of a group and the cursor of the next, empty at the end. A forged or stale cursor starts again."""
    found = base.filter(group.condition)
    if after and (key := read_cursor(after, group)):
        found = found.filter(_after_key(group.order, key))
    actions = list(found.order_by(*group.order)[: PAGE_SIZE + 1])
    if len(actions) <= PAGE_SIZE:
        return actions, ""
    last = actions[PAGE_SIZE - 1]
    return actions[:PAGE_SIZE], signing.dumps(
        [group.key, *(_cursor_value(getattr(last, c.lstrip("-"))) for c in group.order)]
    )


def read_cursor(after: str, group: ActionGroup) -> list[Any] | None:
    try:
        key, *values = signing.loads(after)
    except (signing.BadSignature, ValueError):
        return None
    return values if key == group.key else None


def _cursor_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _after_key(order: Sequence[str], values: list[Any]) -> Q:
    """(a, b) > (x, y), spelled out: a > x, or a = x and b > y."""
    found, equal = Q(pk__in=[]), Q()
    for column, value in zip(order, values, strict=True):
        name, way = column.lstrip("-"), "lt" if column.startswith("-") else "gt"
        found |= equal & Q(**{f"{name}__{way}": value})
        equal &= Q(**{name: value})
    return found


def build_rows(pairs: Iterable[tuple[Action, str]], access: Access) -> list[ActionRow]:
    """Rows for actions with their group's key: nine queries at most, for any number of actions."""
    rows = [ActionRow(action, group) for action, group in pairs]
    waits = find_blockers([r.action for r in rows if r.action.state != State.HELD])
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
        waiting[request.subject_id].has_changes_requested = bool(blocking_change_requests(asks[request.pk]))
        _fill_approval(waiting[request.subject_id], counted, access)
    return rows


def _fill_approval(row: ActionRow, counted: Quorum, access: Access) -> None:
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


RUN_PAGE_STATES = (State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK, State.HELD)


def page_url(action: Action) -> str:
    """The page of an action: its run while it runs or is held, else its review."""
    return f"/actions/{action.pk}/{'run/' if action.state in RUN_PAGE_STATES else ''}"
