"""
Caps: how many actions may run at once, of a tenant, in an environment, of a type.

Who is about to run is counted under a lock on the caps of its tenant, inside the transaction that moves it; therefore
no number of workers ever exceeds one. What a claim counts before that only keeps the peace. A tenant without caps pays
no statement: the guard of the move itself sees that nobody has set one meanwhile (`actions.guarded_update`).
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q

from actions.models import Action, Cap
from actions.scheduling.rules import RUNNING


def admitted(actions: Sequence[Action]) -> tuple[set[UUID], dict[UUID, list[Cap]]]:
    """
    Of actions about to run: those that every cap lets, in turn; and for the others the caps that are reached.

    Locks the caps of their tenants until the end of the transaction. One statement; a second where there are caps.
    """
    tenants = {a.tenant_id for a in actions}
    caps = list(Cap.objects.select_for_update().filter(tenant__in=tenants).order_by("pk"))
    free = free_of(caps)
    let: set[UUID] = set()
    kept: dict[UUID, list[Cap]] = {}
    for action in sorted(actions, key=lambda a: (a.turn_at, a.pk)):
        over = covering(caps, action)
        full = [cap for cap in over if free[cap.pk] <= 0]
        if full:
            kept[action.pk] = full
            continue
        let.add(action.pk)
        for cap in over:
            free[cap.pk] -= 1
    return let, kept


def running_of(caps: Sequence[Cap]) -> dict[UUID, int]:
    """How many run now of those that each cap counts. One query; none without caps."""
    if not caps:
        return {}
    running = Action.objects.filter(tenant__in={c.tenant_id for c in caps}, state__in=RUNNING).order_by()
    counted = list(running.values_list("tenant_id", "environment_id", "type").annotate(n=Count("pk")))
    return {
        cap.pk: sum(n for tenant, place, kind, n in counted if tenant == cap.tenant_id and cap.covers(place, kind))
        for cap in caps
    }


def free_of(caps: Sequence[Cap]) -> dict[UUID, int]:
    """How many more each cap lets run; less than none where it was lowered while more ran."""
    running = running_of(caps)
    return {cap.pk: cap.most - running[cap.pk] for cap in caps}


def covering(caps: Iterable[Cap], action: Action) -> list[Cap]:
    return [c for c in caps if c.tenant_id == action.tenant_id and c.covers(action.environment_id, action.type)]


def is_capped() -> Exists:
    """Of a query on actions: whether a cap counts the row. Rides along; costs no statement."""
    place = Q(environment=None) | Q(environment=OuterRef("environment"))
    return Exists(Cap.objects.filter(place, Q(type="") | Q(type=OuterRef("type")), tenant=OuterRef("tenant")))


def as_facts(caps: Iterable[Cap]) -> list[dict[str, Any]]:
    """What an event keeps of the caps that an action waits for."""
    return [
        {"environment": str(c.environment_id) if c.environment_id else None, "type": c.type or None, "most": c.most}
        for c in caps
    ]
