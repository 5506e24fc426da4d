"""What a judgement takes into account besides the plan: what depends on what is changed, and who is at work."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from tenants.models import Resource

MOST_EDGES = 20_000
MOST_DEPENDENTS = 1_000
NAMED = 5
Edges = dict[UUID, list[UUID]]
"""The resources that directly need each resource."""


def edges_in(tenant_ids: Iterable[UUID]) -> Edges | None:
    """Who needs what in these tenants; None where that is more than anybody should follow. One query."""
    joins = Resource.depends_on.through.objects.filter(to_resource__tenant__in=list(tenant_ids)).order_by()
    found: Edges = {}
    pairs = list(joins.values_list("to_resource_id", "from_resource_id")[: MOST_EDGES + 1])
    for needed, needing in pairs:
        found.setdefault(needed, []).append(needing)
    return found if len(pairs) <= MOST_EDGES else None


def dependents_of(touched: Iterable[Resource], edges: Edges | None, here: Mapping[Any, Resource]) -> dict[str, Any]:
    """
    Everything that stands on what is touched, near and far: {"count", "names", "more"}. Pure.

    Only resources of the same environment are named: who may see one environment need not see the next. `more`: it was
    not followed to the end, so the most is assumed.
    """
    start = {r.pk for r in touched}
    if edges is None:
        return {"count": MOST_DEPENDENTS if start else 0, "names": [], "more": bool(start)}
    seen, rest = set(start), list(start)
    while rest and len(seen) - len(start) < MOST_DEPENDENTS:
        for needing in edges.get(rest.pop(), ()):
            if needing not in seen:
                seen.add(needing)
                rest.append(needing)
    far = seen - start
    named = sorted(r.name for r in here.values() if r.pk in far)[:NAMED] if far else []
    return {"count": len(far), "names": named, "more": bool(rest)}
