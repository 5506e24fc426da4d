"""What keeps ready actions waiting: a freeze, a concurrency limit, a circuit breaker, or a node without a worker."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Max
from django.db.models.functions import Now

from actions.controls.circuit_breaker import breaker_name, breakers_blocking, describe_breaker
from actions.controls.freeze import FREEZE, freezes_in
from actions.controls.limits import count_running, limits_covering
from actions.models import Action, CircuitBreaker, ConcurrencyLimit, Freeze, Lease
from actions.models.states import TO_DECIDE, TO_EXECUTE, State


@dataclass(frozen=True)
class Blocker:
    """One reason: `why` is freeze, limit, node or breaker; `short` fits into a row, `words` are a sentence."""

    why: str
    short: str
    words: str


def find_blockers(actions: Iterable[Action]) -> dict[UUID, list[Blocker]]:
    """
    The blocker of each blocked action. Needs `environment` joined.

    No query unless one of them could start or is held by a freeze, then three; one more where there are limits, two
    where one belongs to a node.
    """
    found = list(actions)
    to_start = [a for a in found if a.state == State.APPROVED and a.lease_id is None]
    switched = [a for a in found if a.state == State.HELD and a.held_reason == FREEZE]
    of_nodes = [a for a in found if a.node and a.lease_id is None and a.state in (*TO_DECIDE, *TO_EXECUTE)]
    holds = freezes_in({a.environment_id for a in (*to_start, *switched)}) if to_start or switched else {}
    limits = reached_limits(to_start) if to_start else {}
    open_breakers = breakers_blocking(to_start) if to_start else {}
    lonely = nodes_without_worker({a.node for a in of_nodes}) if of_nodes else {}
    out: dict[UUID, list[Blocker]] = {}
    for action in (*to_start, *switched):
        if hold := holds.get(action.environment_id):
            out.setdefault(action.pk, []).append(freeze_blocker(hold))
    for action in of_nodes:
        if action.node in lonely:
            out.setdefault(action.pk, []).append(node_blocker(action.node, lonely[action.node]))
    for action in to_start:
        for limit in limits.get(action.pk, []):
            out.setdefault(action.pk, []).append(limit)
        if breaker := open_breakers.get(action.pk):
            out.setdefault(action.pk, []).append(breaker_blocker(breaker))
    return out


def reached_limits(actions: Iterable[Action]) -> dict[UUID, list[Blocker]]:
    """The concurrency limits that block each of these. One query; two where there are limits."""
    asked = list(actions)
    limits = list(
        ConcurrencyLimit.objects.filter(tenant__in={a.tenant_id for a in asked}).select_related("environment")
    )
    running = count_running(limits)
    full = [limit for limit in limits if running[limit.pk] >= limit.most]
    return {
        a.pk: [limit_blocker(limit, running[limit.pk]) for limit in limits_covering(full, a)]
        for a in asked
        if limits_covering(full, a)
    }


def nodes_without_worker(names: Iterable[str]) -> dict[str, datetime | None]:
    """Those of these nodes without a live worker, and when one was last seen. Two queries."""
    asked = set(names)
    alive = Lease.objects.filter(node__in=asked, ended_at=None, expires_at__gt=Now()).values_list("node", flat=True)
    lonely = asked - set(alive)
    seen = dict(Lease.objects.filter(node__in=lonely).values_list("node").annotate(at=Max("renewed_at")))
    return {name: seen.get(name) for name in lonely}


def freeze_blocker(hold: Freeze) -> Blocker:
    place = hold.environment.name
    since = f"{hold.since:%d %b %H:%M} UTC"
    return Blocker(FREEZE, f"{place} is frozen", f"{place} is frozen by {hold.set_by} since {since}: {hold.reason}")


def breaker_blocker(breaker: CircuitBreaker) -> Blocker:
    return Blocker("breaker", f"the circuit breaker of {breaker_name(breaker)}", describe_breaker(breaker))


def limit_blocker(limit: ConcurrencyLimit, running: int) -> Blocker:
    place = f"in {limit.environment.name}" if limit.environment else "in all environments"
    kind = f"{limit.type} " if limit.type else ""
    count = f"{running} of {limit.most}"
    words = f"Waiting for a concurrency limit: {count} {kind}actions run {place}."
    return Blocker("limit", f"{count} {kind}running {place}", words)


def node_blocker(name: str, seen: datetime | None) -> Blocker:
    last = f"last seen {seen:%d %b %H:%M} UTC" if seen else "never seen"
    return Blocker("node", f"no worker for node {name}", f"No live worker for node {name} ({last}). Start one there.")


def blocker_of(action: Action) -> Blocker | None:
    """The blocker of a person's resume or rollback: a freeze or a limit. Three queries."""
    hold = freezes_in([action.environment_id]).get(action.environment_id)
    if hold is not None:
        return freeze_blocker(hold)
    return next(iter(reached_limits([action]).get(action.pk, [])), None)
