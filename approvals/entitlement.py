"""Whether somebody may decide, and if not, why and what would help. Pure but for the delegation chain."""

from dataclasses import dataclass, field

from approvals.models import Request
from approvals.tally import Tally
from tenants.access import Access, delegation_chain
from tenants.models import Environment


@dataclass(frozen=True)
class Why:
    """Why not, in words, and what to do instead."""

    words: str
    remedies: list[str] = field(default_factory=list)


ASK_ADMIN = "A tenant admin can grant the role; it counts for requests that open from then on."
TOO_LATE = "Your role was given to you after this request opened, so it fills no seat of this one."


def may_decide(counted: Tally, access: Access, *, approved: bool) -> Why | None:
    """None if the caller may fill a seat of this request (or reject it); else why not. Roles are the tally's."""
    request, principal = counted.request, access.principal
    roles = " or ".join(sorted({seat["role"] for seat in request.seats}))
    others = f"Ask somebody else who holds {roles}."
    if not access.is_person():
        return Why("Agents cannot decide; a person has to.", [others])
    related = _why_related(request, access)
    if related:
        return Why(related, [others, "To withdraw the action, cancel it."])
    if not access.can("approve", request.environment_id):
        if access.token:
            return Why("This token may not approve here.", ["Sign in, or use a token with the scope `approve`."])
        return Why("You may not approve in this environment.", [others, ASK_ADMIN])
    if not counted.role_of(principal.pk):
        if any(access.role_in(seat["role"], request.environment_id) for seat in request.seats):
            return Why(TOO_LATE, [others, "Or have the action proposed again."])
        return Why(f"You hold no role that this request asks for here: {roles}.", [others, ASK_ADMIN])
    if approved and not counted.seat_for(principal.pk):
        return Why("The seats that your roles could fill are taken; one person fills one.", [_who_is_missing(counted)])
    return None


def may_accept(request: Request, access: Access) -> Why | None:
    """None if the caller is the requester, or answers for it, and may still propose here; else why not.

    An agent accepts its own diff only where its environment lets agents act. Reads the environment, for agents.
    """
    if access.principal.pk not in delegation_chain(request.requester):
        return Why("Only its requester can accept the dry-run diff.", ["Ask the requester to accept it."])
    if not access.can("propose", request.environment_id):
        return Why("You may no longer propose actions in this environment.", ["Ask a tenant admin for the role."])
    if not access.is_person() and only_recommends(request.environment):
        return Why(
            "In this environment agents only recommend; a person accepts.", ["Ask the agent's owner to accept it."]
        )
    return None


def only_recommends(environment: Environment) -> bool:
    """Whether agents only recommend in an environment, which they do unless its settings say otherwise."""
    return environment.settings.get("recommendation_only", True) is not False


def _why_related(request: Request, access: Access) -> str:
    """The requester and everyone who answers for it never count: as it was when it opened, and as it is now."""
    principal = access.principal
    if principal.pk == request.requester_id:
        return "You requested this, and nobody approves their own request."
    if str(principal.pk) in request.excluded or principal.pk in delegation_chain(request.requester):
        return "An agent that you answer for requested this, and nobody approves their own request."
    return ""


def _who_is_missing(counted: Tally) -> str:
    missing = [
        f"{seat['count'] - len(row)} × {seat['role']}"
        for seat, row in zip(counted.request.seats, counted.rows, strict=True)
        if len(row) < seat["count"]
    ]
    return f"Still missing: {', '.join(missing)}."
