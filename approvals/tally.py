"""Count what was said on a request: decisions ∩ roles held now, one seat per person."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import prefetch_related_objects

from approvals.models import Decision, Request
from approvals.people import Holders, holders, roles_of
from approvals.quorum import fill, open_seats, seat_of
from tenants.access import delegation_chain


@dataclass(frozen=True)
class Tally:
    """`rows` parallels `request.seats`: the approvals in each seat. `held` are the roles at the time of counting."""

    request: Request
    decisions: Sequence[Decision]
    rows: list[list[Decision]]
    held: Holders

    @property
    def missing(self) -> int:
        return open_seats(self.request.seats, self.rows)

    def seat_for(self, principal: UUID) -> str:
        """The role of the seat that one more person's approval would fill, or "" if it would fill none."""
        seats, me = self.request.seats, "me"
        sitting = [(d.principal_id, roles_of(d.principal_id, self.held)) for row in self.rows for d in row]
        rows = fill(seats, [*sitting, (me, roles_of(principal, self.held))])
        return seat_of(me, seats, rows)

    def role_of(self, principal: UUID) -> str:
        """The first role that a seat asks for, taken or not, and that this person holds; "" if none."""
        return next((s["role"] for s in self.request.seats if principal in self.held.get(s["role"], ())), "")


def tally(request: Request, principal: UUID | None = None) -> Tally:
    """Count one request, knowing the roles of those who decided and of `principal`. Two queries and its requester.

    An open request counts the roles held now; a settled one shows the seats as they were filled when it settled.
    """
    decisions = list(request.decisions.all())
    if request.state != Request.State.OPEN:
        return count(request, decisions, recorded(decisions))
    among = {decision.principal_id for decision in decisions} | ({principal} if principal else set())
    return count(request, decisions, holders([request], among)[request.pk])


def tallies(requests: Iterable[Request]) -> dict[UUID, Tally]:
    """Count many requests with the roles held now, settled or not, by id. Four queries at most."""
    requests = list(requests)
    prefetch_related_objects(requests, "requester__owner")
    decisions: dict[UUID, list[Decision]] = {request.id: [] for request in requests}
    for decision in Decision.objects.filter(request__in=decisions):
        decisions[decision.request_id].append(decision)
    held = holders(requests, {decision.principal_id for made in decisions.values() for decision in made})
    return {request.id: count(request, decisions[request.id], held[request.pk]) for request in requests}


def count(request: Request, decisions: Sequence[Decision], held: Holders) -> Tally:
    """Seat the approvals that count: of exactly the request's digest, by nobody excluded when it opened or since."""
    excluded = set(request.excluded) | {str(principal) for principal in delegation_chain(request.requester)}
    exact = [d for d in decisions if d.approved and d.digest == request.digest]
    first = {d.principal_id: d for d in reversed(exact)}  # one each, whatever the database would let in
    valid = [d for d in exact if first[d.principal_id] is d and str(d.principal_id) not in excluded]
    return Tally(request, decisions, fill(request.seats, [(d, roles_of(d.principal_id, held)) for d in valid]), held)


def recorded(decisions: Iterable[Decision]) -> Holders:
    """The roles in which people decided: what history shows, whoever has left since."""
    held: Holders = {}
    for decision in decisions:
        held.setdefault(decision.role, set()).add(decision.principal_id)
    return held


def as_seats(counted: Tally) -> list[dict[str, Any]]:
    """The seats with who fills them: [{"role", "count", "by": [Decision…]}]."""
    return [{**seat, "by": row} for seat, row in zip(counted.request.seats, counted.rows, strict=True)]
