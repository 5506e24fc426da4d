"""The quorum: which required approvals are filled, by whom, and which change requests block. One person fills one."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import prefetch_related_objects

from approvals.models import ChangeRequest, Decision, Request
from approvals.quorum.role_holders import RoleHolders, role_holders, roles_of
from tenants.access import delegation_chain

P = TypeVar("P", bound=Hashable)


def match_approvals(
    required_approvals: Sequence[Mapping[str, Any]], people: Sequence[tuple[P, Collection[str]]]
) -> list[list[P]]:
    """Match as many of `people` (who, their roles) as possible to required approvals, one each; return who fills each
    of `required_approvals`.

    A maximum bipartite matching by augmenting paths (Kuhn 1955); `count` is the capacity. Later people never
    displace earlier ones, who may move to another required approval that they can fill. Nobody fills two.
    """
    filled: list[list[int]] = [[] for _ in required_approvals]

    def place(person: int, tried: set[int]) -> bool:
        for n, required in enumerate(required_approvals):
            if n in tried or required["role"] not in people[person][1]:
                continue
            tried.add(n)
            if len(filled[n]) < required["count"]:
                filled[n].append(person)
                return True
            for i, other in enumerate(filled[n]):
                if place(other, tried):
                    filled[n][i] = person
                    return True
        return False

    for person in range(len(people)):
        place(person, set())
    return [[people[person][0] for person in sorted(row)] for row in filled]


def matched_role(person: P, required_approvals: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[P]]) -> str:
    """The role of the required approval that a person fills, or "" if none."""
    return next((required["role"] for required, row in zip(required_approvals, rows, strict=True) if person in row), "")


def count_open(required_approvals: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[Any]]) -> int:
    """How many required approvals nobody fills yet."""
    return sum(required["count"] - len(row) for required, row in zip(required_approvals, rows, strict=True))


# The quorum of a request: its decisions, by the roles held now, one required approval per person.


@dataclass(frozen=True)
class Quorum:
    """`rows` parallels `request.required_approvals`: the decisions that fill each. `held`: the roles when counted."""

    request: Request
    decisions: Sequence[Decision]
    rows: list[list[Decision]]
    held: RoleHolders

    @property
    def missing(self) -> int:
        return count_open(self.request.required_approvals, self.rows)

    def role_to_fill(self, principal: UUID) -> str:
        """The role of the required approval that one more person's approval would fill, or "" if it would fill none."""
        required_approvals, me = self.request.required_approvals, "me"
        matched = [(d.principal_id, roles_of(d.principal_id, self.held)) for row in self.rows for d in row]
        rows = match_approvals(required_approvals, [*matched, (me, roles_of(principal, self.held))])
        return matched_role(me, required_approvals, rows)

    def role_of(self, principal: UUID) -> str:
        """The first required role that this person holds, filled or not; "" if none."""
        return next(
            (s["role"] for s in self.request.required_approvals if principal in self.held.get(s["role"], ())), ""
        )


def count_quorum(request: Request, principal: UUID | None = None) -> Quorum:
    """Count one request, knowing the roles of those who decided and of `principal`. Two queries and its requester.

    An open request counts the roles held now; a closed one shows the required approvals as they were filled when it
    closed.
    """
    decisions = list(request.decisions.all())
    if request.state != Request.State.OPEN:
        return count_approvals(request, decisions, recorded_roles(decisions))
    among = {decision.principal_id for decision in decisions} | ({principal} if principal else set())
    return count_approvals(request, decisions, role_holders([request], among)[request.pk])


def count_quorums(requests: Iterable[Request]) -> dict[UUID, Quorum]:
    """Count many requests with the roles held now, open or closed, by id. Four queries at most."""
    requests = list(requests)
    prefetch_related_objects(requests, "requester__owner")
    decisions: dict[UUID, list[Decision]] = {request.id: [] for request in requests}
    for decision in Decision.objects.filter(request__in=decisions):
        decisions[decision.request_id].append(decision)
    held = role_holders(requests, {decision.principal_id for made in decisions.values() for decision in made})
    return {request.id: count_approvals(request, decisions[request.id], held[request.pk]) for request in requests}


def count_approvals(request: Request, decisions: Sequence[Decision], held: RoleHolders) -> Quorum:
    """Match the approvals that count: of exactly the request's digest, by people not excluded then or now."""
    excluded = set(request.excluded) | {str(principal) for principal in delegation_chain(request.requester)}
    exact = [d for d in decisions if d.approved and d.digest == request.digest]
    first = {d.principal_id: d for d in reversed(exact)}  # one each, even without the database's constraint
    valid = [d for d in exact if first[d.principal_id] is d and str(d.principal_id) not in excluded]
    return Quorum(
        request,
        decisions,
        match_approvals(request.required_approvals, [(d, roles_of(d.principal_id, held)) for d in valid]),
        held,
    )


def recorded_roles(decisions: Iterable[Decision]) -> RoleHolders:
    """The roles in which people decided, whether they still hold them or not."""
    held: RoleHolders = {}
    for decision in decisions:
        held.setdefault(decision.role, set()).add(decision.principal_id)
    return held


def filled_approvals(quorum: Quorum) -> list[dict[str, Any]]:
    """The required approvals with who fills them: [{"role", "count", "by": [Decision…]}]."""
    return [
        {**required, "by": row} for required, row in zip(quorum.request.required_approvals, quorum.rows, strict=True)
    ]


# Change requests count while their authors may still decide, by the same rule as decisions.


def open_change_requests(requests: Collection[Request]) -> dict[UUID, list[ChangeRequest]]:
    """The change requests that were not withdrawn, by request, oldest first; `counts` is set on each.

    One query; three if there are any.
    """
    found: dict[UUID, list[ChangeRequest]] = {request.pk: [] for request in requests}
    if not found:
        return found
    for change_request in ChangeRequest.objects.filter(request__in=list(found), withdrawn_at=None).select_related(
        "principal__owner"
    ):
        found[change_request.request_id].append(change_request)
    affected = [request for request in requests if found[request.pk]]
    if affected:
        prefetch_related_objects(affected, "requester__owner")
        held = role_holders(
            affected,
            {change_request.principal_id for change_requests in found.values() for change_request in change_requests},
        )
        for request in affected:
            _mark_blocking(request, found[request.pk], held[request.pk])
    return found


def blocking_change_requests(change_requests: Iterable[ChangeRequest]) -> list[ChangeRequest]:
    """Those that block the approval of their request. Pure."""
    return [change_request for change_request in change_requests if change_request.counts]


def _mark_blocking(request: Request, change_requests: list[ChangeRequest], held: RoleHolders) -> None:
    excluded = {*request.excluded, *map(str, delegation_chain(request.requester))}
    roles = {required["role"] for required in request.required_approvals}
    for change_request in change_requests:
        change_request.counts = (
            bool(roles & roles_of(change_request.principal_id, held))
            and str(change_request.principal_id) not in excluded
        )
