"""What pages show about a request: seats, who fills them, who else could."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from approvals.attention import in_words
from approvals.decisions import can_decide
from approvals.models import Decision, Request
from approvals.suggest import suggested
from approvals.tally import tally
from tenants.access import Access
from tenants.models import Principal

NAMED = 3  # candidates named for an open seat; the rest are counted


def quorum_context(request: Request, access: Access) -> dict[str, Any]:
    """The context of `approvals/_quorum.html`: seats in groups per matrix row. About eight queries.

    {"id", "have", "needed", "is_open", "is_complete", "can", "why_not", "rejected": filled | None, "lapsed": [name],
    "groups": [{"role", "have", "count", "filled": [filled], "open": [{"is_yours", "candidates": [name], "others"}]}]},
    where filled is {"name", "is_agent", "at", "digest", "comment", "attention"}.
    """
    counted = tally(request, access.principal.pk)
    can, why_not = can_decide(request, access)
    is_open = request.state == Request.State.OPEN
    me = access.principal.pk
    candidates = {
        role: [s.principal for s in found if s.principal != me] for role, found in suggested(request, counted).items()
    }
    names = _names([d.principal_id for d in counted.decisions], [pk for pks in candidates.values() for pk in pks])
    yours = counted.seat_for(access.principal.pk) if can and request.kind == Request.Kind.APPROVAL else ""
    rejection = next((d for d in counted.decisions if not d.approved), None)
    seated = {d.pk for row in counted.rows for d in row}
    needed = sum(seat["count"] for seat in request.seats)
    groups = []
    for seat, row in zip(request.seats, counted.rows, strict=True):
        others = [str(names[pk]) for pk in candidates.get(seat["role"], []) if pk in names]
        free = _open_seats(seat["count"] - len(row), others, seat["role"] == yours)
        yours = "" if seat["role"] == yours and free else yours
        filled = [_filled(decision, names) for decision in row]
        groups.append({"role": seat["role"], "have": len(row), "count": seat["count"], "filled": filled, "open": free})
    return {
        "id": request.pk,
        "have": needed - counted.missing,
        "needed": needed,
        "is_open": is_open,
        "is_complete": counted.missing == 0,
        "can": can,
        "why_not": why_not,
        "rejected": _filled(rejection, names) if rejection else None,
        "lapsed": [str(names[d.principal_id]) for d in counted.decisions if d.approved and d.pk not in seated],
        "groups": groups,
    }


def _open_seats(free: int, candidates: list[str], has_yours: bool) -> list[dict[str, Any]]:
    named, others = candidates[:NAMED], max(len(candidates) - NAMED, 0)
    return [{"is_yours": has_yours and n == 0, "candidates": named, "others": others} for n in range(free)]


def _names(*ids: Iterable[UUID]) -> dict[UUID, Principal]:
    wanted = {pk for part in ids for pk in part}
    found = Principal.objects.filter(pk__in=wanted).only("username", "display_name", "kind") if wanted else []
    return {principal.pk: principal for principal in found}


def _filled(decision: Decision, names: dict[UUID, Principal]) -> dict[str, Any]:
    who = names[decision.principal_id]
    return {
        "name": str(who),
        "is_agent": who.kind == "agent",
        "at": decision.at,
        "digest": decision.digest,
        "comment": decision.comment,
        "attention": in_words(decision.attention),
    }
