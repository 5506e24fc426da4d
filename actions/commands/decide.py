"""Decide on plans: approve, reject, accept, request changes, withdraw; one action or several in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from actions.errors import WrongState
from actions.lifecycle.allowed import S, describe_state, find_action, latest_request
from actions.models import Action
from approvals.errors import DigestNeeded
from approvals.models import Request
from approvals.quorum.eligibility import MAX_BULK, bulk_below, require_bulk_allowed
from approvals.requests.decisions import accept as accept_request
from approvals.requests.decisions import decide
from approvals.requests.withdraw import request_changes as ask_request
from approvals.requests.withdraw import withdraw_approval as withdraw_withdraw_approval
from approvals.requests.withdraw import withdraw_change_request
from audit.errors import Invalid, Problem
from tenants.access import Access


@dataclass(frozen=True)
class Decided:
    """What came of one of many: the action as it is now, or the problem and the id that was sent."""

    sent: str
    action: Action | None = None
    problem: Problem | None = None


def decide_many(
    access: Access, chosen: Sequence[tuple[str, str]], *, approved: bool, comment: str, correlation_id: str = ""
) -> list[Decided]:
    """Approve or reject these (action id, digest of the plan that was shown), in order.

    Raises Invalid for none or too many; whatever is wrong with a single one is its own result.
    """
    if not 1 <= len(chosen) <= MAX_BULK:
        words = f"Choose between 1 and {MAX_BULK} requests; these are {len(chosen)}."
        raise Invalid(words, issues=[{"severity": "error", "message": words, "field": "items"}])
    below = bulk_below(access.tenant.pk)
    return [_decide_one(access, sent, digest, below, approved, comment, correlation_id) for sent, digest in chosen]


def _decide_one(
    access: Access, sent: str, digest: str, below: str, approved: bool, comment: str, correlation_id: str
) -> Decided:
    action = None
    try:
        action = find_action(access, sent)
        require_bulk_allowed(below, action.tier)
        if not digest:
            raise DigestNeeded
        done = approve(access, UUID(str(action.pk)), approved, digest, comment, correlation_id=correlation_id)
        return Decided(sent, done)
    except Problem as problem:
        return Decided(sent, action, problem)


def accept(access: Access, action_id: UUID, digest: str, *, correlation_id: str = "") -> Action:
    """The requester accepts exactly the dry-run diff with this digest. Raises StaleDigest, Settled, NotEntitled."""
    action = find_action(access, action_id)
    request = require_open_request(action, "acceptance")
    accept_request(request.pk, access, digest=digest, correlation_id=correlation_id)
    return find_action(access, action_id)


def approve(
    access: Access, action_id: UUID, approved: bool, digest: str | None, comment: str, *, correlation_id: str = ""
) -> Action:
    """Decide on an action: approve the plan with exactly this digest, or reject. Raises what `decide` raises."""
    action = find_action(access, action_id)
    request = require_open_request(action, "approval")
    decide(request.pk, access, approved=approved, digest=digest, comment=comment, correlation_id=correlation_id)
    return find_action(access, action_id)


def withdraw_requested_changes(
    access: Access, action_id: UUID, comment: str = "", *, correlation_id: str = ""
) -> Action:
    """Withdraw one's own wish for changes; if nothing else is missing, that approves the action."""
    request = require_open_request(find_action(access, action_id), "approval")
    withdraw_change_request(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find_action(access, action_id)


def withdraw_approval(access: Access, action_id: UUID, comment: str = "", *, correlation_id: str = "") -> Action:
    """Take back one's own approval while the run has not begun; an approved action asks its people again."""
    action = find_action(access, action_id)
    request = latest_request(action)
    if request is None or action.state not in (S.AWAITING_APPROVAL, S.APPROVED):
        raise WrongState(
            f"This action is {describe_state(action.state)}; an approval can be withdrawn only before the run starts.",
            remedies=["Abort the run instead, if it is still running."],
        )
    withdraw_withdraw_approval(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find_action(access, action_id)


def require_open_request(action: Action, kind: str) -> Request:
    """The open request of an action; in any other case WrongState says where the action is and what that means."""
    request = latest_request(action)
    if request is None or action.state != S.AWAITING_APPROVAL or request.state != "open":
        raise WrongState(
            f"This action is {describe_state(action.state)}; there is nothing to decide.",
            remedies=["Look at the action again: what can be done now is under `allowed`."],
        )
    if request.kind != kind:
        if request.kind == "acceptance":
            raise WrongState(
                "No required approval is asked for; the action waits for its requester to accept the dry-run diff.",
                remedies=[f"POST /api/actions/{action.pk}/accept with the plan's digest, as the requester."],
            )
        raise WrongState("Required approvals are asked for; accepting the diff does not fill them.")
    return request


def request_changes(access: Access, action_id: UUID, comment: str, *, correlation_id: str = "") -> Action:
    """Say what has to change before this can be approved. Raises what `approvals.requests.withdraw` raises."""
    request = require_open_request(find_action(access, action_id), "approval")
    ask_request(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find_action(access, action_id)
