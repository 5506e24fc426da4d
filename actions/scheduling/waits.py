"""What keeps actions waiting that workers are there for: a switch, a cap, a breaker, a node without worker."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Max
from django.db.models.functions import Now

from actions.breakers import in_words, named, shut_for
from actions.models import Action, Breaker, Cap, EnvironmentHold, Lease
from actions.scheduling.caps import covering, running_of
from actions.scheduling.standing import SWITCH
from actions.scheduling.switch import holds_in
from actions.states import TO_DECIDE, TO_EXECUTE, State


@dataclass(frozen=True)
class Wait:
    """One reason: `why` is switch, cap, node or breaker; `short` fits into a row, `words` are a sentence."""

    why: str
    short: str
    words: str


def waits_of(actions: Iterable[Action]) -> dict[UUID, list[Wait]]:
    """
    For each action that something keeps waiting: what. Needs `environment` joined.

    No query unless one of them could start or is held by a switch, then three; one more where there are caps, two where
    one belongs to a node.
    """
    found = list(actions)
    to_start = [a for a in found if a.state == State.APPROVED and a.lease_id is None]
    switched = [a for a in found if a.state == State.HELD and a.held_reason == SWITCH]
    of_nodes = [a for a in found if a.node and a.lease_id is None and a.state in (*TO_DECIDE, *TO_EXECUTE)]
    holds = holds_in({a.environment_id for a in (*to_start, *switched)}) if to_start or switched else {}
    caps = reached_caps(to_start) if to_start else {}
    shut = shut_for(to_start) if to_start else {}
    lonely = nodes_without_worker({a.node for a in of_nodes}) if of_nodes else {}
    out: dict[UUID, list[Wait]] = {}
    for action in (*to_start, *switched):
        if hold := holds.get(action.environment_id):
            out.setdefault(action.pk, []).append(of_switch(hold))
    for action in of_nodes:
        if action.node in lonely:
            out.setdefault(action.pk, []).append(of_node(action.node, lonely[action.node]))
    for action in to_start:
        for cap in caps.get(action.pk, []):
            out.setdefault(action.pk, []).append(cap)
        if breaker := shut.get(action.pk):
            out.setdefault(action.pk, []).append(of_breaker(breaker))
    return out


def reached_caps(actions: Iterable[Action]) -> dict[UUID, list[Wait]]:
    """The caps that keep each of these from starting. One query; two where there are caps."""
    asked = list(actions)
    caps = list(Cap.objects.filter(tenant__in={a.tenant_id for a in asked}).select_related("environment"))
    running = running_of(caps)
    full = [cap for cap in caps if running[cap.pk] >= cap.most]
    return {a.pk: [of_cap(cap, running[cap.pk]) for cap in covering(full, a)] for a in asked if covering(full, a)}


def nodes_without_worker(names: Iterable[str]) -> dict[str, datetime | None]:
    """Those of these nodes that no live worker carries actions of, and when one was last seen. Two queries."""
    asked = set(names)
    alive = Lease.objects.filter(node__in=asked, ended_at=None, expires_at__gt=Now()).values_list("node", flat=True)
    lonely = asked - set(alive)
    seen = dict(Lease.objects.filter(node__in=lonely).values_list("node").annotate(at=Max("renewed_at")))
    return {name: seen.get(name) for name in lonely}


def of_switch(hold: EnvironmentHold) -> Wait:
    place = hold.environment.name
    since = f"{hold.since:%d %b %H:%M} UTC"
    return Wait(SWITCH, f"{place} is frozen", f"{place} is frozen by {hold.set_by} since {since}: {hold.reason}")


def of_breaker(breaker: Breaker) -> Wait:
    return Wait("breaker", f"the breaker of {named(breaker)}", in_words(breaker))


def of_cap(cap: Cap, running: int) -> Wait:
    place = f"in {cap.environment.name}" if cap.environment else "in all environments"
    kind = f"{cap.type} " if cap.type else ""
    count = f"{running} of {cap.most}"
    words = f"It waits for a place: {count} {kind}actions run {place}."
    return Wait("cap", f"{count} {kind}running {place}", words)


def of_node(name: str, seen: datetime | None) -> Wait:
    last = f"last seen {seen:%d %b %H:%M} UTC" if seen else "never seen"
    return Wait("node", f"no worker for node {name}", f"No worker for node {name} is alive ({last}); start one there.")


def refused(action: Action) -> Wait | None:
    """What keeps a person from letting an action run just now: the switch, or a cap. Three queries."""
    hold = holds_in([action.environment_id]).get(action.environment_id)
    if hold is not None:
        return of_switch(hold)
    return next(iter(reached_caps([action]).get(action.pk, [])), None)
