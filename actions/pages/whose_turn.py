"""Whose turn it is: the queue's groups as conditions on actions, none of which grows with the number of actions."""

import json
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from actions.scheduling.standing import SWITCH
from actions.states import ENDED, LIVE, State
from approvals.models import Request
from approvals.quorum.role_holders import role_tenures_in
from tenants.access import Access

MOST_COUNTED = 99
RUNNING = (State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK, State.HELD)


@dataclass(frozen=True)
class Group:
    """One heading of the queue. `order` is the keyset: the columns rows are sorted and paged by."""

    key: str
    title: str
    condition: Q
    order: tuple[str, ...] = ("-id",)
    note: str = ""


def yours_to_decide(access: Access) -> Q:
    """Open approvals with a required approval for a role that the reader has held since before, and has not decided
    yet.

    One query, for since when the reader holds which role. Who else is excluded (a delegation chain) is in each request,
    and looked at per row.
    """
    me = access.principal
    where = dict.fromkeys(access.environments_where("approve"), access.tenant.pk)
    if not access.is_person() or not where:
        return Q(pk__in=[])
    asked, standing = Q(pk__in=[]), role_tenures_in(where, {me.pk})
    for environment, roles in standing.items():
        for role, since in roles.items():
            asked |= Q(environment_id=environment, opened_at__gte=since[me.pk]) & _asks_for(role)
    open_ones = Request.objects.alias(asked_for=Cast("required_approvals", TextField())).filter(
        asked, subject_id=OuterRef("pk"), state="open", kind="approval"
    )
    waiting = Exists(open_ones.exclude(decisions__principal=me))
    others = ~Q(requester=me) & ~Q(requester__owner=me)
    places = [environment for environment, roles in standing.items() if roles]
    return Q(state=State.AWAITING_APPROVAL, environment__in=places) & others & Q(waiting)


def _asks_for(role: str) -> Q:
    """Whether the text of `required_approvals` names a role. A name that occurs as something else costs a second
    look, no more.
    """
    return Q(asked_for__contains=json.dumps(role)) | Q(asked_for__contains=json.dumps(role, ensure_ascii=False))


def yours_to_accept(access: Access) -> Q:
    """Zero-approval changes of the reader, or of an agent of theirs, that run once the diff is accepted."""
    asked = Request.objects.filter(subject_id=OuterRef("pk"), state="open", kind="acceptance")
    mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
    return Q(state=State.AWAITING_APPROVAL) & mine & Q(Exists(asked))


def yours_to_settle(access: Access) -> Q:
    """But for what goes on by itself once the switch of its environment is lifted."""
    return Q(state=State.HELD, environment__in=access.environments_where("operate")) & ~Q(held_reason=SWITCH)


def needs_you(access: Access) -> Q:
    """Everything in which the reader has the next turn, in the places that they may view."""
    yours = yours_to_decide(access) | yours_to_accept(access) | yours_to_settle(access)
    return Q(tenant=access.tenant, environment__in=access.environments_where("view")) & yours


def groups_of(tab: str, access: Access) -> list[Group]:
    """The groups of a tab, in reading order."""
    decide, accept, settle = yours_to_decide(access), yours_to_accept(access), yours_to_settle(access)
    soonest = ("expires_at", "id")
    needs = [
        Group("decide", "Needs your decision", decide, soonest, "soonest expiry first"),
        Group("accept", "Accept your own change", accept, soonest, "nobody else is asked"),
        Group("settle", "Held: say how to go on", settle),
    ]
    mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
    if tab == "needs":
        return needs
    if tab == "mine":
        return [
            Group("mine", "Open", mine & Q(state__in=LIVE)),
            Group("mine-ended", "Ended", mine & Q(state__in=ENDED)),
        ]
    if tab == "ended":
        return [Group("ended", "Ended", Q(state__in=ENDED), note="newest first")]
    waiting = (State.AWAITING_APPROVAL, State.QUEUED, State.PREFLIGHT, State.APPROVED)
    return [
        *needs,
        Group("waiting", "Waiting on others", Q(state__in=waiting) & ~decide & ~accept),
        Group("running", "In progress", Q(state__in=RUNNING) & ~settle),
    ]


def count_of(tab: str, access: Access) -> Q | None:
    """What a tab's number counts; the ended are not counted."""
    mine = Q(requester=access.principal) | Q(requester__owner=access.principal)
    return {"needs": needs_you(access), "all": Q(state__in=LIVE), "mine": mine & Q(state__in=LIVE)}.get(tab)


def capped(rows: QuerySet[Any, Any]) -> str:
    """A count that costs at most 100 rows: `""` for none, `99+` for more than can be counted."""
    n = rows.order_by()[: MOST_COUNTED + 1].count()
    return f"{MOST_COUNTED}+" if n > MOST_COUNTED else str(n or "")
