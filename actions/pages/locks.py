"""Who has which resource for itself, since when, and who waits for it. Bounded, whatever there is."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from actions.models import Action, ResourceClaim
from tenants.access import Access, visible_to

MOST_SHOWN = 25
MOST_WAITING = 500
"""Claims that wait, oldest first, that are looked at: who is beyond is only not counted."""
NAMED = 3


@dataclass
class Lock:
    """One resource that an action has; `waiting` are the first in its queue, of `count` in all."""

    claim: ResourceClaim
    waiting: list[Action] = field(default_factory=list)
    count: int = 0

    @property
    def more(self) -> int:
        return self.count - len(self.waiting)


def locks_of(access: Access) -> dict[str, Any]:
    """{"locks", "is_cut"}: those that somebody waits for first, then the oldest. Four queries."""
    claims = visible_to(ResourceClaim.objects.order_by("pk"), access)
    queues: dict[str, list[UUID]] = defaultdict(list)
    for key, action_id in claims.filter(held=False).values_list("key", "action")[:MOST_WAITING]:
        queues[key].append(action_id)
    contested = sorted(queues, key=lambda key: -len(queues[key]))[: MOST_SHOWN + 1]
    held = _held(claims).filter(key__in=contested) if contested else []
    found = sorted(held, key=lambda c: -len(queues[c.key]))
    rest = list(_held(claims).exclude(key__in=contested)[: MOST_SHOWN + 1 - min(len(found), MOST_SHOWN)])
    shown = [*found, *rest]
    names = _named({pk for c in shown[:MOST_SHOWN] for pk in queues[c.key][:NAMED]}, access)
    locks = [
        Lock(c, [names[pk] for pk in queues[c.key][:NAMED] if pk in names], len(queues[c.key]))
        for c in shown[:MOST_SHOWN]
    ]
    return {"locks": locks, "locks_cut": len(shown) > MOST_SHOWN}


def _held(claims: QuerySet[ResourceClaim]) -> QuerySet[ResourceClaim]:
    few = ("key", "kind", "name", "since", "held", "environment", "action")
    of_action = ("action__title", "action__state", "action__held_reason")
    joined = claims.filter(held=True).select_related("action", "environment")
    place = ("environment__slug", "environment__name", "environment__risk_class")
    return joined.only(*few, *of_action, *place)


def _named(ids: set[UUID], access: Access) -> dict[UUID, Action]:
    if not ids:
        return {}
    return {a.pk: a for a in visible_to(Action.objects.filter(pk__in=ids).only("title", "state"), access)}
