"""The approval status of many actions at once: requests, decisions, required approvals, and what the reader may do."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from actions.controls.blockers import Blocker
from actions.lifecycle.allowed import decision_verbs, withdrawal_verbs
from actions.models import Action, ResourceLock
from actions.models.states import HeldReason, State
from approvals.models import ChangeRequest, Decision, Request
from approvals.quorum.count import Quorum, blocking_change_requests, count_approvals, open_change_requests
from approvals.quorum.eligibility import ineligible_to_accept, ineligible_to_decide
from approvals.quorum.role_holders import role_holders
from audit.database.clock import database_time
from tenants.access import Access


@dataclass
class ApprovalStatus:
    """
    An action's newest request, counted; `verbs` are the reader's verbs to decide it now.

    `asks` are the open requests for changes; `withdrawals` the reader's verbs to withdraw an own decision.
    """

    counted: Quorum
    verbs: list[str] = field(default_factory=list)
    change_requests: list[ChangeRequest] = field(default_factory=list)
    withdrawals: list[str] = field(default_factory=list)

    @property
    def request(self) -> Request:
        return self.counted.request

    def missing(self) -> list[tuple[str, int]]:
        """The required approvals that are not filled yet: role and how many."""
        pairs = zip(self.request.required_approvals, self.counted.rows, strict=True)
        return [
            (required["role"], required["count"] - len(row)) for required, row in pairs if len(row) < required["count"]
        ]


def fetch_approval_status(actions: Iterable[Action], access: Access) -> dict[UUID, ApprovalStatus]:
    """The newest request of each action, by action. Four queries and the clock, for any number of actions."""
    asked = [a.pk for a in actions if a.requires_approval is not None]
    newest: dict[UUID, Request] = {}
    if asked:
        found = Request.objects.filter(subject_kind="action", subject_id__in=asked)
        for request in found.select_related("requester__owner", "environment").order_by("opened_at", "id"):
            newest[request.subject_id] = request
    decisions = _decisions_by_request(newest.values())
    asks = open_change_requests([request for request in newest.values() if request.state == Request.State.OPEN])
    deciders = {d.principal_id for made in decisions.values() for d in made}
    held = role_holders(newest.values(), {*deciders, access.principal.pk}) if newest else {}
    now = database_time() if newest else None
    waiting = {}
    for subject_id, request in newest.items():
        it = ApprovalStatus(count_approvals(request, decisions[request.pk], held[request.pk]))
        if request.state == Request.State.OPEN and now is not None and not request.is_overdue(now):
            it.verbs = _decision_commands(it.counted, access)
        it.change_requests = asks.get(request.pk, [])
        it.withdrawals = withdrawal_verbs(request, access, it.counted.decisions, it.change_requests)
        waiting[subject_id] = it
    return waiting


def _decisions_by_request(requests: Iterable[Request]) -> dict[UUID, list[Decision]]:
    made: dict[UUID, list[Decision]] = defaultdict(list)
    ids = [request.pk for request in requests]
    if ids:
        for decision in Decision.objects.filter(request__in=ids).select_related("principal__owner"):
            made[decision.request_id].append(decision)
    return made


def _decision_commands(counted: Quorum, access: Access) -> list[str]:
    """Like `approvals.requests.decisions.can_decide`, without queries for what is known."""
    request, me = counted.request, access.principal.pk
    if request.kind == Request.Kind.ACCEPTANCE:
        return [] if ineligible_to_accept(request, access) else decision_verbs(request)
    if any(decision.principal_id == me for decision in counted.decisions):
        return []
    return [] if ineligible_to_decide(counted, access, approved=True) else decision_verbs(request)


def describe_blockers(
    action: Action, it: ApprovalStatus | None, behind: Sequence[ResourceLock] = (), waits: Sequence[Blocker] = ()
) -> list[str]:
    """What an action waits for, one sentence each; empty while it runs or after its end."""
    if action.state == State.AWAITING_APPROVAL and it is not None:
        if it.request.kind == Request.Kind.ACCEPTANCE:
            return [f"{it.request.requester.username} must accept the dry-run diff."]
        asked = [
            f"{a.principal.username} requested changes: {a.comment[:200]}"
            for a in blocking_change_requests(it.change_requests)
        ]
        return [*asked, *(f"{n} more to approve as {role}." for role, n in it.missing())]
    if action.state == State.HELD:
        if waits:
            return [f"{wait.words} It resumes when the environment is unfrozen." for wait in waits]
        return [HeldReason(action.held_reason).help]
    if action.state in (State.QUEUED, State.APPROVED):
        later = [f"Not started before {action.not_before.isoformat()}."] if action.not_before else []
        turns = [f"Waiting for the lock on {c.kind} {c.name}: {c.action_id} is first." for c in behind]
        held_up = [wait.words for wait in waits]
        return [*later, *held_up, *(turns or ([] if held_up else ["Waiting for a worker."]))]
    return [*(wait.words for wait in waits), "Planning."] if action.state == State.PREFLIGHT else []
