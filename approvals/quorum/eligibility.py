"""Who may decide, alone or in bulk; why somebody may not, and what to do instead; and whom to suggest."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

from approvals.models import TIERS, ApprovalSettings, Decision, Request
from approvals.quorum.count import Quorum
from approvals.quorum.role_holders import role_holders
from audit.database.clock import database_time
from audit.errors import Conflict
from tenants.access import Access, delegation_chain
from tenants.models import Environment


@dataclass(frozen=True)
class Ineligible:
    """Why not, and what to do instead."""

    reason: str
    remedies: list[str] = field(default_factory=list)


ASK_ADMIN = "A tenant admin can grant the role; it counts for requests that open from then on."
TOO_LATE = "Your role was granted after this request opened, so it does not count for this request."


def ineligible_to_decide(quorum: Quorum, access: Access, *, approved: bool) -> Ineligible | None:
    """None if the caller may fill a required approval of this request (or reject it); else why not. Roles are the
    quorum's.
    """
    request, principal = quorum.request, access.principal
    roles = " or ".join(sorted({required["role"] for required in request.required_approvals}))
    others = f"Ask another person with the role {roles}."
    if not access.is_person():
        return Ineligible("Agents cannot decide; a person has to.", [others])
    related = _describe_relation(request, access)
    if related:
        return Ineligible(related, [others, "To withdraw the action, cancel it."])
    if not access.can("approve", request.environment_id):
        if access.token:
            return Ineligible("This token may not approve here.", ["Sign in, or use a token with the scope `approve`."])
        return Ineligible("You may not approve in this environment.", [others, ASK_ADMIN])
    if not quorum.role_of(principal.pk):
        if any(access.role_in(required["role"], request.environment_id) for required in request.required_approvals):
            return Ineligible(TOO_LATE, [others, "Or have the action proposed again."])
        return Ineligible(f"You have none of the required roles here: {roles}.", [others, ASK_ADMIN])
    if approved and not quorum.role_to_fill(principal.pk):
        return Ineligible(
            "The required approvals that your roles can fill are filled; one person fills one.",
            [_describe_missing(quorum)],
        )
    return None


def ineligible_to_accept(request: Request, access: Access) -> Ineligible | None:
    """None if the caller is the requester or its owner, and may still propose here; else why not.

    An agent accepts its own diff only where its environment lets agents act. Reads the environment, for agents.
    """
    if access.principal.pk not in delegation_chain(request.requester):
        return Ineligible("Only its requester can accept the dry-run diff.", ["Ask the requester to accept it."])
    if not access.can("propose", request.environment_id):
        return Ineligible(
            "You may no longer propose actions in this environment.", ["Ask a tenant admin for the role."]
        )
    if not access.is_person() and agents_only_recommend(request.environment):
        return Ineligible(
            "In this environment agents only recommend; a person accepts.", ["Ask the agent's owner to accept it."]
        )
    return None


def agents_only_recommend(environment: Environment) -> bool:
    """Whether agents only recommend in an environment: the default."""
    return environment.settings.get("recommendation_only", True) is not False


def _describe_relation(request: Request, access: Access) -> str:
    """The requester and its owners never count: as they were when it opened, and as they are now."""
    principal = access.principal
    if principal.pk == request.requester_id:
        return "You are the requester; requesters cannot approve their own actions."
    if str(principal.pk) in request.excluded or principal.pk in delegation_chain(request.requester):
        return "Your agent requested this; owners cannot approve the actions of their agents."
    return ""


def _describe_missing(quorum: Quorum) -> str:
    missing = [
        f"{required['count'] - len(row)} × {required['role']}"
        for required, row in zip(quorum.request.required_approvals, quorum.rows, strict=True)
        if len(row) < required["count"]
    ]
    return f"Still missing: {', '.join(missing)}."


# Bulk decisions: only where the tenant allows them, and only below the tier that it set.


MAX_BULK = 100  # requests in one go


class NotAllowedInBulk(Conflict):
    """This request cannot be decided in bulk. Open it and decide it alone."""

    code = "not_allowed_in_bulk"


def bulk_below(tenant_id: UUID) -> str:
    """The tier below which a tenant allows bulk decisions; empty for never. One query."""
    return ApprovalSettings.objects.filter(tenant=tenant_id).values_list("bulk_below", flat=True).first() or ""


def is_bulk_allowed(below: str, tier: str) -> bool:
    """Whether a change of this tier may be decided in bulk. Pure."""
    return bool(below) and tier in TIERS and TIERS.index(tier) < TIERS.index(below)


def require_bulk_allowed(below: str, tier: str) -> None:
    """Raise NotAllowedInBulk where a change of this tier has to be decided alone."""
    if not below:
        why = "Bulk decisions are disabled in this tenant."
        raise NotAllowedInBulk(
            why,
            remedies=[
                "Open it and decide it alone.",
                "A tenant admin can set up to which tier bulk decisions are allowed.",
            ],
        )
    if not is_bulk_allowed(below, tier):
        why = f"Its tier is {tier or 'not known'}; here only tiers below {below} may be decided in bulk."
        raise NotAllowedInBulk(why, remedies=["Open it and decide it alone."])


# Suggested approvers: who could fill the open required approvals, likely quick answers first.


LOOKBACK = timedelta(days=90)
MAX_DECISIONS = 1_000  # decisions, the newest
MAX_PER_ROLE = 50  # people per role


@dataclass(frozen=True)
class Suggestion:
    """A person who could fill a required approval, and how they decided in the last 90 days. `median_s` is from opening
    to decision.
    """

    principal: UUID
    decisions: int = 0
    median_s: int | None = None
    last_at: datetime | None = None


def suggested_approvers(request: Request, quorum: Quorum) -> dict[str, list[Suggestion]]:
    """For each role with an open required approval, who can fill it: neither excluded nor decided. Two queries and the
    clock.

    Those who decided recently and quickly come first, then those without decisions.
    """
    if request.state != Request.State.OPEN or request.kind != Request.Kind.APPROVAL:
        return {}
    excluded = {UUID(pk) for pk in request.excluded} | set(delegation_chain(request.requester))
    excluded |= {decision.principal_id for decision in quorum.decisions}
    rows = zip(request.required_approvals, quorum.rows, strict=True)
    roles = [required["role"] for required, row in rows if len(row) < required["count"]]
    held = role_holders([request])[request.pk]
    free = {role: sorted(held.get(role, set()) - excluded) for role in roles}
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


def _by_response_time(suggestion: Suggestion) -> tuple[Any, ...]:
    return (
        suggestion.median_s is None,
        suggestion.median_s or 0,
        -(suggestion.last_at.timestamp() if suggestion.last_at else 0),
        suggestion.principal,
    )
