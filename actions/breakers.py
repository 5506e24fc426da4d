"""Circuit breakers as people see and reset them. What moves them is in `actions.run.breakers`."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from actions.errors import NotAllowed, WrongState
from actions.models import Action, Breaker
from actions.nudge import nudge
from actions.run.breakers import reset
from audit.errors import NotFound
from tenants.access import Access, visible_to

S = Breaker.State
MOST = 100


def seen(access: Access) -> QuerySet[Breaker]:
    """The breakers that count failures, where the caller may view; the open ones first."""
    counting = visible_to(Breaker.objects.select_related("environment", "probe"), access).filter(
        ~Q(state=S.CLOSED) | Q(failures__gt=0)
    )
    return counting.order_by("-state", "-failed_at", "pk")


def find(access: Access, breaker_id: UUID) -> Breaker:
    """Raises NotFound, also for another tenant's."""
    found = visible_to(Breaker.objects.select_related("environment", "probe"), access).filter(pk=breaker_id).first()
    if found is None:
        raise NotFound
    return found


def reset_breaker(access: Access, breaker_id: UUID, reason: str, *, correlation_id: str = "") -> Breaker:
    """Close a breaker, so that what waits behind it starts at once. Raises NotFound, NotAllowed, WrongState."""
    found = find(access, breaker_id)
    if not access.can("operate", found.environment_id):
        raise NotAllowed(
            "Only an operator of the environment may reset this breaker.",
            remedies=["Ask an operator, or wait: it lets one action through by itself when its time is over."],
        )
    if not reset(found.pk, str(access.principal.pk), reason=reason, correlation_id=correlation_id):
        raise WrongState("This breaker is closed and counts no failures; there is nothing to reset.")
    transaction.on_commit(lambda: nudge("execute"))
    return find(access, breaker_id)


def shut_for(actions: Iterable[Action]) -> dict[UUID, Breaker]:
    """For each of these that could start but for an open breaker: that breaker. One query."""
    keys = {a.pk: a.breaker_key for a in actions if a.breaker_key}
    shut = {b.key: b for b in Breaker.objects.filter(key__in=set(keys.values())).exclude(state=S.CLOSED)}
    return {pk: shut[key] for pk, key in keys.items() if key in shut and shut[key].probe_id != pk}


def named(breaker: Breaker) -> str:
    return f"{breaker.type} at {breaker.target}" if breaker.target else breaker.type


def in_words(breaker: Breaker) -> str:
    """What keeps an action waiting behind it, in a sentence."""
    failed = f"{breaker.failures} failures in a row, the last: {breaker.code}"
    if breaker.state == S.HALF_OPEN:
        return f"The breaker of {named(breaker)} is half-open: one other action is tried first ({failed})."
    return f"The breaker of {named(breaker)} is open until {_moment(breaker.open_until)} ({failed})."


def _moment(at: datetime | None) -> str:
    return f"{at:%d %b %H:%M:%S} UTC" if at else "it is reset"
