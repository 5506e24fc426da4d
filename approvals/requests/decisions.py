"""Decide, accept, count the quorum. Every decision of a person is made here.

Each verb locks the request row first and the subject second (through the subject's sequencer, when the event is
recorded), then looks again, then acts; so a quorum is counted by one transaction at a time. On SQLite, where rows
cannot be locked, its one writer at a time does the same. Time is the database's.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal

from approvals.errors import (
    AlreadyDecided,
    CommentNeeded,
    DigestNeeded,
    NotEligible,
    RequestClosed,
    RequestExpired,
    StaleDigest,
    WrongRequestKind,
)
from approvals.models import ChangeRequest, Decision, Request
from approvals.notifications.enqueue import enqueue_event
from approvals.quorum.count import (
    Quorum,
    blocking_change_requests,
    count_approvals,
    count_quorum,
    count_quorums,
    filled_approvals,
    open_change_requests,
)
from approvals.quorum.eligibility import Ineligible, ineligible_to_accept, ineligible_to_decide
from approvals.quorum.role_holders import role_holders
from approvals.requests.view_tracking import plan_view_facts
from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access

MAX_COMMENT = 4_000  # characters
CLOSED_MESSAGES = {
    "approved": "It is already approved.",
    "rejected": "It is already rejected; propose the action again.",
    "expired": "It expired; propose the action again.",
    "void": "The plan changed; this request is void. Review the new plan.",
    "cancelled": "It was withdrawn.",
}

request_decided = Signal()
"""Sent inside the deciding transaction: request, outcome ("approved" or "rejected"), by (actor), correlation_id, at."""


def decide(
    request_id: UUID, access: Access, *, approved: bool, digest: str | None, comment: str, correlation_id: str = ""
) -> Request:
    """Approve exactly the plan with `digest`, or reject with a comment; return the request, closed if that closed it.

    Approving fills one required approval; the last one closes the request, as does a single rejection. Raises NotFound,
    RequestClosed, RequestExpired, AlreadyDecided, NotEligible (which records an event), DigestNeeded, StaleDigest,
    CommentNeeded.
    """
    comment = comment.replace("\x00", "").strip()
    try:
        with transaction.atomic():
            return _decide(request_id, access, approved, digest, comment, correlation_id)
    except NotEligible as refusal:
        record_refusal(request_id, access, "approve" if approved else "reject", refusal, correlation_id)
        raise


def accept(request_id: UUID, access: Access, *, digest: str | None, correlation_id: str = "") -> Request:
    """The requester accepts the dry-run diff with exactly this digest; return the request, which that closes.

    Only for requests of kind acceptance. Raises what `decide` raises.
    """
    try:
        with transaction.atomic():
            return _accept(request_id, access, digest, correlation_id)
    except NotEligible as refusal:
        record_refusal(request_id, access, "accept", refusal, correlation_id)
        raise


def can_decide(request: Request, access: Access) -> tuple[bool, str]:
    """Whether this caller could fill a required approval now (or accept, if that is needed), and why not. Three
    queries.
    """
    if request.state != Request.State.OPEN:
        return False, CLOSED_MESSAGES[request.state]
    if request.is_overdue(database_time()):
        return False, "This request expired."
    if request.kind == Request.Kind.ACCEPTANCE:
        why = ineligible_to_accept(request, access)
    else:
        quorum = count_quorum(request, access.principal.pk)
        if any(made.principal_id == access.principal.pk for made in quorum.decisions):
            return False, "You have already decided."
        why = ineligible_to_decide(quorum, access, approved=True)
    return (False, why.reason) if why else (True, "")


def is_quorum_met(request: Request) -> bool:
    """Whether every required approval is filled by someone who may still fill it. Re-check before acting on an
    approval.
    """
    return quorums_met([request])[request.pk]


def quorums_met(requests: Iterable[Request]) -> dict[UUID, bool]:
    """`is_quorum_met` of many, by request id. Four queries at most, none if no approval was required."""
    requests = list(requests)
    with_quorum = [request for request in requests if request.required_approvals]
    quorums = count_quorums(with_quorum) if with_quorum else {}
    return {
        request.pk: quorums[request.pk].missing == 0 if request.required_approvals else _was_accepted(request)
        for request in requests
    }


def current_approvals(request: Request, decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """The required approvals and who fills them now: [{"role", "count", "by": [Decision…]}]; distinct people, one
    required approval each.
    """
    held = role_holders([request], {decision.principal_id for decision in decisions})
    return filled_approvals(count_approvals(request, decisions, held[request.pk]))


def _decide(
    request_id: UUID, access: Access, approved: bool, digest: str | None, comment: str, correlation_id: str
) -> Request:
    request, now = lock_open_request(request_id, access, Request.Kind.APPROVAL)
    quorum = count_quorum(request, access.principal.pk)
    refuse_if(ineligible_to_decide(quorum, access, approved=approved))
    if approved:
        _require_same_digest(request, digest)
    elif not comment:
        raise CommentNeeded(issues=[comment_issue("Give a reason for the rejection.")])
    if len(comment) > MAX_COMMENT:
        raise Invalid("The comment is too long.", issues=[comment_issue(f"Keep it to {MAX_COMMENT} characters.")])
    if approved:
        withdraw_own_change_request(request, access, now, correlation_id)
    role = quorum.role_to_fill(access.principal.pk) or quorum.role_of(access.principal.pk)
    decision = _create_decision(request, access, approved, role, digest if approved else request.digest, comment, now)
    after = count_approvals(request, [*quorum.decisions, decision], quorum.held)
    facts = {
        **request_facts(request, access),
        "role": role,
        "approvals_missing": after.missing,
        "plan_view": decision.plan_view,
    }
    record_event(
        request, access, "approval.granted" if approved else "approval.rejected", facts, comment, correlation_id
    )
    if not approved:
        close_with_decision(request, Request.State.REJECTED, str(access.principal.pk), now, correlation_id)
    else:
        approve_if_complete(after, str(access.principal.pk), now, correlation_id)
    return request


def approve_if_complete(after: Quorum, by: str, now: datetime, correlation_id: str) -> bool:
    """Approve the locked request if the quorum is met and no change request counts; return whether it did.

    Change requests that lapsed, because their authors may no longer decide, are named in an event of their own.
    """
    if after.missing:
        return False
    request = after.request
    change_requests = open_change_requests([request])[request.pk]
    if blocking_change_requests(change_requests):
        return False
    if change_requests:
        facts = {
            "request": str(request.pk),
            "digest": request.digest,
            "change_requests": [str(change_request.pk) for change_request in change_requests],
        }
        subject = Subject(request.subject_kind, request.subject_id)
        record(
            NewEvent(
                request.tenant_id,
                subject,
                "approval.change_request_lapsed",
                by,
                correlation_id=correlation_id,
                facts=facts,
            )
        )
    store_matched_roles(after)
    close_with_decision(request, Request.State.APPROVED, by, now, correlation_id)
    return True


def withdraw_own_change_request(
    request: Request, access: Access, now: datetime, correlation_id: str, comment: str = ""
) -> bool:
    """Withdraw the caller's change request on a locked request, if there is one; with its event."""
    mine = ChangeRequest.objects.filter(request=request, principal=access.principal.pk, withdrawn_at=None)
    done = bool(mine.update(withdrawn_at=now))
    if done:
        record_event(
            request,
            access,
            "approval.change_request_withdrawn",
            request_facts(request, access),
            comment,
            correlation_id,
        )
    return done


def _accept(request_id: UUID, access: Access, digest: str | None, correlation_id: str) -> Request:
    request, now = lock_open_request(request_id, access, Request.Kind.ACCEPTANCE)
    refuse_if(ineligible_to_accept(request, access))
    _require_same_digest(request, digest)
    made = _create_decision(request, access, True, "requester", request.digest, "", now)
    facts = {**request_facts(request, access), "plan_view": made.plan_view}
    record_event(request, access, "approval.accepted", facts, "", correlation_id)
    close_with_decision(request, Request.State.APPROVED, str(access.principal.pk), now, correlation_id)
    return request


def lock_open_request(request_id: UUID, access: Access, kind: str) -> tuple[Request, datetime]:
    """The request, locked and open, and the time after the lock was taken: waiting for it may pass the deadline.

    Raises NotFound, AlreadyDecided, RequestClosed, RequestExpired, WrongRequestKind.
    """
    found = Request.objects.filter(pk=request_id, tenant_id=access.tenant.pk)
    request = found.select_for_update(of=("self",)).select_related("requester__owner").first()
    if request is None or not access.can("view", request.environment_id):
        raise NotFound
    now = database_time()
    if request.decisions.filter(principal=access.principal.pk).exists():
        raise AlreadyDecided
    if request.state != Request.State.OPEN:
        raise RequestClosed(CLOSED_MESSAGES[request.state], remedies=["Reload the page to see the decision."])
    if request.is_overdue(now):
        raise RequestExpired(remedies=["Propose the action again; it is planned and evaluated anew."])
    if request.kind != kind:
        raise WrongRequestKind(
            "No approval needed; the requester must accept the dry-run diff."
            if request.kind == Request.Kind.ACCEPTANCE
            else "This request needs approvals; accepting the diff does not fill them."
        )
    return request, now


def refuse_if(why: Ineligible | None) -> None:
    if why:
        raise NotEligible(why.reason, remedies=why.remedies)


def _require_same_digest(request: Request, digest: str | None) -> None:
    if not digest:
        raise DigestNeeded(issues=[{"severity": "error", "message": "Send the plan's digest.", "field": "digest"}])
    if digest != request.digest:
        raise StaleDigest(current_digest=request.digest, remedies=["Reload the plan, review it, then decide."])


def _create_decision(
    request: Request, access: Access, approved: bool, role: str, digest: str | None, comment: str, now: datetime
) -> Decision:
    decision = Decision(
        request=request,
        principal_id=access.principal.pk,
        approved=approved,
        role=role,
        digest=digest or "",
        comment=comment,
        plan_view=plan_view_facts(request, access.principal.pk, now),
        at=now,
    )
    decision.save(force_insert=True)
    return decision


def store_matched_roles(after: Quorum) -> None:
    """Store who fills which required approval: the matching may have moved earlier people."""
    moved = []
    for required, row in zip(after.request.required_approvals, after.rows, strict=True):
        for decision in row:
            if decision.role != required["role"]:
                decision.role = required["role"]
                moved.append(decision)
    if moved:
        Decision.objects.bulk_update(moved, ["role"])


def close_with_decision(request: Request, state: Request.State, by: str, now: datetime, correlation_id: str) -> None:
    request.state, request.closed_at = state, now
    request.save(update_fields=["state", "closed_at"])
    if request.kind == Request.Kind.APPROVAL:
        enqueue_event(request, "closed", now.isoformat())
    request_decided.send(Request, request=request, outcome=state.value, by=by, correlation_id=correlation_id, at=now)


def record_event(
    request: Request,
    access: Access,
    verb: str,
    facts: dict[str, Any],
    comment: str,
    correlation_id: str,
    outcome: str = "ok",
) -> None:
    record(
        NewEvent(
            tenant=request.tenant_id,
            subject=Subject(request.subject_kind, request.subject_id),
            verb=verb,
            actor=str(access.principal.pk),
            outcome=outcome,
            correlation_id=correlation_id,
            facts=facts,
            private={"comment": comment} if comment else {},
        )
    )


def record_refusal(request_id: UUID, access: Access, attempted: str, why: NotEligible, correlation_id: str) -> None:
    """Record the attempt on the subject, in a transaction of its own: the refused one was rolled back."""
    request = Request.objects.get(pk=request_id)
    facts = {**request_facts(request, access), "attempted": attempted, "why": why.detail}
    with transaction.atomic():
        record_event(request, access, "approval.refused", facts, "", correlation_id, outcome="refused")


def request_facts(request: Request, access: Access) -> dict[str, Any]:
    token = {"token": str(access.token.pk)} if access.token else {}
    return {"request": str(request.pk), "digest": request.digest, **token}


def _was_accepted(request: Request) -> bool:
    return request.kind == Request.Kind.ACCEPTANCE and request.state == Request.State.APPROVED


def comment_issue(message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": "comment"}
