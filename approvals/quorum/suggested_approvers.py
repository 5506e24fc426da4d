"""Who could fill the open required approvals of a request, those first who are likely to answer soon."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

from approvals.models import Decision, Request
from approvals.quorum.count import Quorum
from approvals.quorum.role_holders import role_holders
from audit.database.clock import database_time
from tenants.access import delegation_chain

LOOKBACK = timedelta(days=90)
MAX_DECISIONS = 1_000  # decisions, the newest
MAX_PER_ROLE = 50  # people per role


@dataclass(frozen=True)
class Suggestion:
    """Somebody who could fill a required approval, and how they answered in the last 90 days. `median_s` is from
    opening to word.
    """

    principal: UUID
    decisions: int = 0
    median_s: int | None = None
    last_at: datetime | None = None


def suggested_approvers(request: Request, counted: Quorum) -> dict[str, list[Suggestion]]:
    """For each role with an open required approval, who can fill it: neither excluded nor decided. Two queries and the
    clock.

    Those who answered lately and quickly come first, then those of whom nothing is known.
    """
    if request.state != Request.State.OPEN or request.kind != Request.Kind.APPROVAL:
        return {}
    out = {UUID(pk) for pk in request.excluded} | set(delegation_chain(request.requester))
    out |= {decision.principal_id for decision in counted.decisions}
    rows = zip(request.required_approvals, counted.rows, strict=True)
    roles = [required["role"] for required, row in rows if len(row) < required["count"]]
    held = role_holders([request])[request.pk]
    free = {role: sorted(held.get(role, set()) - out) for role in roles}
    known = _response_times(request, {pk for people in free.values() for pk in people})
    return {
        role: sorted((known.get(pk, Suggestion(pk)) for pk in people), key=_by_response_time)[:MAX_PER_ROLE]
        for role, people in free.items()
    }


def _response_times(request: Request, people: set[UUID]) -> dict[UUID, Suggestion]:
    if not people:
        return {}
    since = database_time() - LOOKBACK
    made = Decision.objects.filter(principal__in=people, request__tenant=request.tenant_id, at__gte=since)
    answers: dict[UUID, list[tuple[datetime, float]]] = {}
    for who, at, opened in made.order_by("-at").values_list("principal", "at", "request__opened_at")[:MAX_DECISIONS]:
        answers.setdefault(who, []).append((at, max(0.0, (at - opened).total_seconds())))
    return {
        who: Suggestion(who, len(given), round(median(took for _, took in given)), max(at for at, _ in given))
        for who, given in answers.items()
    }


def _by_response_time(it: Suggestion) -> tuple[Any, ...]:
    return (it.median_s is None, it.median_s or 0, -(it.last_at.timestamp() if it.last_at else 0), it.principal)
