"""The template context of a request: required approvals, who fills them, who else could."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from approvals.models import Decision, Request
from approvals.quorum.count import count_quorum
from approvals.quorum.eligibility import suggested_approvers
from approvals.requests.decisions import can_decide
from approvals.requests.view_tracking import describe_plan_view
from tenants.access import Access
from tenants.models import Principal

MAX_NAMED = 3  # candidates named for an open required approval; the rest are counted


def quorum_context(request: Request, access: Access) -> dict[str, Any]:
    """The context of `approvals/_quorum.html`: required approvals in groups per matrix row. About eight queries.

    {"id", "have", "needed", "is_open", "is_complete", "can", "why_not", "rejected": filled | None, "lapsed": [name],
    "groups": [{"role", "have", "count", "filled": [filled], "open": [{"is_yours", "candidates": [name], "others"}]}]},
    where filled is {"name", "is_agent", "at", "digest", "comment", "plan_view"}.
    """
    quorum = count_quorum(request, access.principal.pk)
    can, why_not = can_decide(request, access)
    is_open = request.state == Request.State.OPEN
    me = access.principal.pk
    candidates = {
        role: [s.principal for s in found if s.principal != me]
        for role, found in suggested_approvers(request, quorum).items()
    }
    names = _names([d.principal_id for d in quorum.decisions], [pk for pks in candidates.values() for pk in pks])
    yours = quorum.role_to_fill(access.principal.pk) if can and request.kind == Request.Kind.APPROVAL else ""
    rejection = next((d for d in quorum.decisions if not d.approved), None)
    matched = {d.pk for row in quorum.rows for d in row}
    needed = sum(required["count"] for required in request.required_approvals)
    groups = []
    for required, row in zip(request.required_approvals, quorum.rows, strict=True):
        others = [str(names[pk]) for pk in candidates.get(required["role"], []) if pk in names]
        free = _open_approvals(required["count"] - len(row), others, required["role"] == yours)
        yours = "" if required["role"] == yours and free else yours
        filled = [_filled_approval(decision, names) for decision in row]
        groups.append(
            {"role": required["role"], "have": len(row), "count": required["count"], "filled": filled, "open": free}
        )
    return {
        "id": request.pk,
        "have": needed - quorum.missing,
        "needed": needed,
        "is_open": is_open,
        "is_complete": quorum.missing == 0,
        "can": can,
        "why_not": why_not,
        "rejected": _filled_approval(rejection, names) if rejection else None,
        "lapsed": [str(names[d.principal_id]) for d in quorum.decisions if d.approved and d.pk not in matched],
        "groups": groups,
    }


def _open_approvals(free: int, candidates: list[str], has_yours: bool) -> list[dict[str, Any]]:
    named, others = candidates[:MAX_NAMED], max(len(candidates) - MAX_NAMED, 0)
    return [{"is_yours": has_yours and n == 0, "candidates": named, "others": others} for n in range(free)]


def _names(*ids: Iterable[UUID]) -> dict[UUID, Principal]:
    wanted = {pk for part in ids for pk in part}
    found = Principal.objects.filter(pk__in=wanted).only("username", "display_name", "kind") if wanted else []
    return {principal.pk: principal for principal in found}


def _filled_approval(decision: Decision, names: dict[UUID, Principal]) -> dict[str, Any]:
    who = names[decision.principal_id]
    return {
        "name": str(who),
        "is_agent": who.kind == "agent",
        "at": decision.at,
        "digest": decision.digest,
        "comment": decision.comment,
        "plan_view": describe_plan_view(decision.plan_view),
    }
