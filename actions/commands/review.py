"""Review plans: approve, reject, accept, request changes, withdraw, comment; one action or several at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import DatabaseError

from actions.errors import WrongState
from actions.lifecycle.allowed import describe_state, find_action, latest_request
from actions.lifecycle.commit import action_subject
from actions.models import Action, Plan
from actions.models.states import State
from approvals.errors import DigestNeeded
from approvals.models import Comment, Request
from approvals.quorum.eligibility import MAX_BULK, bulk_below, require_bulk_allowed
from approvals.requests.comments import add_comment
from approvals.requests.comments import resolve_thread as resolve_comment_thread
from approvals.requests.decisions import accept as accept_request
from approvals.requests.decisions import decide
from approvals.requests.view_tracking import record_view as record_request_view
from approvals.requests.withdraw import request_changes as add_change_request
from approvals.requests.withdraw import withdraw_approval as withdraw_request_approval
from approvals.requests.withdraw import withdraw_change_request
from audit.errors import Invalid, NotFound, Problem
from tenants.access import Access

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Decided:
    """The result for one of several: the action as it is now, or the problem; and the id that was sent."""

    sent: str
    action: Action | None = None
    problem: Problem | None = None


def decide_many(
    access: Access, chosen: Sequence[tuple[str, str]], *, approved: bool, comment: str, correlation_id: str = ""
) -> list[Decided]:
    """
    Approve or reject these (action id, digest of the plan that was shown), in order.

    Raises Invalid for none or too many; a problem with a single one is its own result.
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
    """The requester accepts exactly the dry-run diff with this digest. Raises StaleDigest, WrongState, NotEligible."""
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
    """Withdraw one's own request for changes; if nothing else is missing, that approves the action."""
    request = require_open_request(find_action(access, action_id), "approval")
    withdraw_change_request(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find_action(access, action_id)


def withdraw_approval(access: Access, action_id: UUID, comment: str = "", *, correlation_id: str = "") -> Action:
    """Withdraw one's own approval before the run starts; an approved action then requests approval again."""
    action = find_action(access, action_id)
    request = latest_request(action)
    if request is None or action.state not in (State.AWAITING_APPROVAL, State.APPROVED):
        raise WrongState(
            f"This action is {describe_state(action.state)}; an approval can be withdrawn only before the run starts.",
            remedies=["Abort the run instead, if it is still running."],
        )
    withdraw_request_approval(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find_action(access, action_id)


def require_open_request(action: Action, kind: str) -> Request:
    """The open request of an action. Raises WrongState with the state of the action if there is none."""
    request = latest_request(action)
    if request is None or action.state != State.AWAITING_APPROVAL or request.state != "open":
        raise WrongState(
            f"This action is {describe_state(action.state)}; there is nothing to decide.",
            remedies=["Read the action again: `allowed` lists what can be done now."],
        )
    if request.kind != kind:
        if request.kind == "acceptance":
            raise WrongState(
                "This action needs no approval. It waits for its requester to accept the dry-run diff.",
                remedies=[f"POST /api/actions/{action.pk}/accept with the plan's digest, as the requester."],
            )
        raise WrongState("This action needs approvals; accepting the diff does not fill them.")
    return request


def request_changes(access: Access, action_id: UUID, comment: str, *, correlation_id: str = "") -> Action:
    """Request changes before approval. Raises what `approvals.requests.withdraw` raises."""
    request = require_open_request(find_action(access, action_id), "approval")
    add_change_request(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find_action(access, action_id)


# Comments and threads.


def comment_on(
    access: Access,
    action_id: UUID,
    text: str,
    *,
    digest: str = "",
    change: int | None = None,
    line: int | None = None,
    reply_to: UUID | None = None,
    correlation_id: str = "",
) -> Comment:
    """
    Comment on a plan of an action (its current one without a digest), or on change n of it, or reply.

    Raises NotFound, Invalid, CommentNeeded, TooManyComments.
    """
    action = find_action(access, action_id)
    plan = action.plan
    if digest and (plan is None or plan.digest != digest):
        plan = None if "\x00" in digest else action.plans.filter(digest=digest).order_by("-version").first()
        if plan is None:
            raise NotFound
    changes = plan.counts.get("changes", 0) if plan else 0
    if change is not None and not 1 <= change <= changes:
        raise Invalid(issues=[_issue(f"The plan has {changes} changes; number {change} is none of them.", "change")])
    if line is not None and change is None:
        raise Invalid(issues=[_issue("`line` needs `change`.", "line")])
    if line is not None and not 1 <= line <= 10_000_000:
        raise Invalid(issues=[_issue("Lines are counted from 1.", "line")])
    return add_comment(
        access,
        action_subject(action),
        action.environment_id,
        text,
        digest=plan.digest if plan else "",
        change=change,
        line=line,
        reply_to=reply_to,
        correlation_id=correlation_id,
    )


def resolve_thread(
    access: Access, action_id: UUID, comment_id: UUID, done: bool, *, correlation_id: str = ""
) -> tuple[Action, Comment]:
    """Resolve a thread about an action, or reopen it. Raises NotFound."""
    action = find_action(access, action_id)
    return action, resolve_comment_thread(
        access, action_subject(action), comment_id, done, correlation_id=correlation_id
    )


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}


# Which plan and changes an approver has seen.


def record_view(access: Access, action: Action, plan: Plan | None, opened: Iterable[int] = (), total: int = 0) -> None:
    """Record that the caller has seen this plan, and these of its changes. Never raises."""
    if plan is None or action.state != State.AWAITING_APPROVAL:
        return
    try:
        record_request_view(latest_request(action), access, plan.digest, opened, total)
    except DatabaseError as error:
        log.warning("view_not_recorded", action=str(action.pk), error=str(error))
