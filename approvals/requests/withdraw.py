"""Request changes instead of deciding, and withdraw a change request or an approval before the action starts.

A change request closes nothing, but while it counts nothing is approved. It ends when its author withdraws it (or
approves), when they may no longer decide, or with the request. A withdrawn approval frees its required approval; an
approved request opens again with the approvals that are left, provided that its subject has not started.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal

from approvals.errors import (
    ChangesAlreadyRequested,
    CommentNeeded,
    NotEligible,
    NothingToWithdraw,
    RequestClosed,
    RequestExpired,
)
from approvals.models import ChangeRequest, Decision, Request
from approvals.notifications.enqueue import enqueue_event
from approvals.quorum.count import blocking_change_requests, count_quorum, count_quorums, open_change_requests
from approvals.quorum.eligibility import ineligible_to_decide
from approvals.requests.decisions import (
    CLOSED_MESSAGES,
    MAX_COMMENT,
    approve_if_complete,
    comment_issue,
    lock_open_request,
    record_event,
    record_refusal,
    refuse_if,
    request_facts,
    withdraw_own_change_request,
)
from approvals.requests.view_tracking import plan_view_facts
from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from tenants.access import Access

ACTOR = "system:decide"
request_reopened = Signal()
"""Sent inside the withdrawing transaction: request, by (actor), correlation_id, at, ttl_s. Raise if it is too late."""


def request_changes(request_id: UUID, access: Access, *, comment: str, correlation_id: str = "") -> Request:
    """Request changes before this can be approved. Needs what rejecting needs: a required role.

    Raises NotFound, RequestClosed, RequestExpired, AlreadyDecided, ChangesAlreadyRequested, NotEligible (which records
    an event), CommentNeeded.
    """
    comment = _clean_comment(comment)
    try:
        with transaction.atomic():
            return _request_changes(request_id, access, comment, correlation_id)
    except NotEligible as refusal:
        record_refusal(request_id, access, "request changes", refusal, correlation_id)
        raise


def withdraw_change_request(
    request_id: UUID, access: Access, *, comment: str = "", correlation_id: str = ""
) -> Request:
    """Withdraw one's own change request. If the quorum is met and no other change request counts, that approves it.

    Raises NotFound, RequestClosed, RequestExpired, NothingToWithdraw.
    """
    comment = _clean_comment(comment)
    with transaction.atomic():
        request, now = lock_open_request(request_id, access, Request.Kind.APPROVAL)
        if not withdraw_own_change_request(request, access, now, correlation_id, comment):
            raise NothingToWithdraw("You have not requested changes here.")
        approve_if_complete(count_quorum(request), str(access.principal.pk), now, correlation_id)
        return request


def withdraw_approval(request_id: UUID, access: Access, *, comment: str = "", correlation_id: str = "") -> Request:
    """Withdraw one's own approval before the subject starts. Opens an approved request again.

    Raises NotFound, RequestClosed, RequestExpired, NothingToWithdraw, and what receivers of `request_reopened` raise.
    """
    comment = _clean_comment(comment)
    with transaction.atomic():
        request, now = _lock_newest(request_id, access)
        made = Decision.objects.filter(request=request, principal=access.principal.pk, approved=True)
        decision = None if request.kind == Request.Kind.ACCEPTANCE else made.first()
        if decision is None:
            raise NothingToWithdraw("You have not approved this; there is nothing to withdraw.")
        was_approved = request.state == Request.State.APPROVED
        facts = {**request_facts(request, access), "role": decision.role, "decided_at": decision.at.isoformat()}
        decision.delete()
        left = count_quorum(request)
        record_event(
            request, access, "approval.withdrawn", {**facts, "approvals_missing": left.missing}, comment, correlation_id
        )
        if was_approved and left.missing:
            _reopen(request, access, now, correlation_id)
        return request


def change_requests_of(request: Request) -> list[ChangeRequest]:
    """The change requests that were not withdrawn, oldest first; `counts` is set on each. Three queries."""
    return open_change_requests([request])[request.pk]


def approve_lapsed() -> int:
    """Approve requests blocked only by change requests whose authors may no longer decide; return how many.

    Nobody else could: every required approval is filled. One query if there is no change request, else a few, and one
    lock for each approved.
    """
    with_change_requests = ChangeRequest.objects.filter(withdrawn_at=None).values("request")
    requests = list(
        Request.objects.filter(state="open", pk__in=with_change_requests).select_related("requester__owner")
    )
    change_requests = open_change_requests(requests)
    free = [request for request in requests if not blocking_change_requests(change_requests[request.pk])]
    complete = [pk for pk, quorum in count_quorums(free).items() if quorum.missing == 0] if free else []
    return sum(_approve_if_lapsed(pk) for pk in complete)


def can_withdraw(request: Request, decisions: Any, principal: UUID) -> bool:
    """Whether this principal has an approval to withdraw, as far as the request knows. Pure."""
    states = (Request.State.OPEN, Request.State.APPROVED)
    mine = any(d.approved and d.principal_id == principal for d in decisions)
    return mine and request.state in states and request.kind == Request.Kind.APPROVAL


def _request_changes(request_id: UUID, access: Access, comment: str, correlation_id: str) -> Request:
    request, now = lock_open_request(request_id, access, Request.Kind.APPROVAL)
    quorum = count_quorum(request, access.principal.pk)
    refuse_if(ineligible_to_decide(quorum, access, approved=False))
    if not comment:
        raise CommentNeeded("State the required changes.", issues=[comment_issue("State the required changes.")])
    if request.change_requests.filter(principal=access.principal.pk, withdrawn_at=None).exists():
        raise ChangesAlreadyRequested
    role = quorum.role_of(access.principal.pk)
    change_request = ChangeRequest(
        request=request, principal_id=access.principal.pk, role=role, digest=request.digest, comment=comment, at=now
    )
    change_request.save(force_insert=True)
    plan_view = plan_view_facts(request, access.principal.pk, now)
    facts = {
        **request_facts(request, access),
        "change_request": str(change_request.pk),
        "role": role,
        "plan_view": plan_view,
    }
    record_event(request, access, "approval.changes_requested", facts, comment, correlation_id)
    enqueue_event(request, "changes_requested", change_request.pk)
    return request


def _approve_if_lapsed(request_id: UUID) -> bool:
    with transaction.atomic():
        found = Request.objects.select_for_update(of=("self",)).select_related("requester__owner")
        request, now = found.get(pk=request_id), database_time()
        if request.state != Request.State.OPEN or request.is_overdue(now):
            return False
        return approve_if_complete(count_quorum(request), ACTOR, now, "")


def _lock_newest(request_id: UUID, access: Access) -> tuple[Request, Any]:
    """The request, locked, if it is open or approved and the newest about its subject."""
    found = Request.objects.filter(pk=request_id, tenant_id=access.tenant.pk)
    request = found.select_for_update(of=("self",)).select_related("requester__owner").first()
    if request is None or not access.can("view", request.environment_id):
        raise NotFound
    now = database_time()
    if request.is_overdue(now):
        raise RequestExpired
    newer = Request.objects.filter(subject_id=request.subject_id, opened_at__gt=request.opened_at)
    if request.state not in (Request.State.OPEN, Request.State.APPROVED) or newer.exists():
        raise RequestClosed(CLOSED_MESSAGES.get(request.state, ""), remedies=["Reload the page to see the decision."])
    return request, now


def _reopen(request: Request, access: Access, now: Any, correlation_id: str) -> None:
    ttl_s = int(settings.INTERLOCK.approval_ttl_s)
    request.state, request.closed_at = Request.State.OPEN, None
    request.expires_at = max(request.expires_at, now + timedelta(seconds=ttl_s))
    request.notify_at = now
    request.save(update_fields=["state", "closed_at", "expires_at", "notify_at"])
    by = str(access.principal.pk)
    request_reopened.send(Request, request=request, by=by, correlation_id=correlation_id, at=now, ttl_s=ttl_s)


def _clean_comment(comment: str) -> str:
    comment = comment.replace("\x00", "").strip()
    if len(comment) > MAX_COMMENT:
        raise Invalid("The comment is too long.", issues=[comment_issue(f"Keep it to {MAX_COMMENT} characters.")])
    return comment
