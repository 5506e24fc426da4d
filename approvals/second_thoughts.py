"""Second thoughts: ask for changes instead of deciding, and take back what one said while nothing has begun.

A wish for changes settles nothing, but while it stands nothing is approved. It ends when its author withdraws it (or
approves), when they may no longer decide, or with the request: proposed anew, the plan is asked for afresh. A withdrawn
approval frees its seat; if the request was approved already, it opens again with the approvals that are left, provided
that its subject can go back.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal

from approvals.asks import counting, standing
from approvals.attention import attention_of
from approvals.decisions import (
    MAX_COMMENT,
    SETTLED_WORDS,
    facts_about,
    issue_with,
    leave_event,
    leave_refusal,
    lock,
    refuse_unless,
    settle_if_complete,
    take_back_ask,
)
from approvals.entitlement import may_decide
from approvals.errors import AlreadyAsked, CommentNeeded, NotEntitled, NothingToWithdraw, RequestExpired, Settled
from approvals.models import Decision, Request
from approvals.notices import tell
from approvals.records import Ask
from approvals.tally import tallies, tally
from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from tenants.access import Access

BY = "system:decide"
reopened = Signal()
"""Sent inside the withdrawing transaction: request, by (actor), correlation_id, at, ttl_s. Raise if it is too late."""


def ask_for_changes(request_id: UUID, access: Access, *, comment: str, correlation_id: str = "") -> Request:
    """Say what has to change before this can be approved. Needs what rejecting needs: a role that is asked for.

    Raises NotFound, Settled, RequestExpired, AlreadyDecided, AlreadyAsked, NotEntitled (which leaves an event),
    CommentNeeded.
    """
    comment = _cleaned(comment)
    try:
        with transaction.atomic():
            return _ask(request_id, access, comment, correlation_id)
    except NotEntitled as refusal:
        leave_refusal(request_id, access, "ask for changes", refusal, correlation_id)
        raise


def withdraw_ask(request_id: UUID, access: Access, *, comment: str = "", correlation_id: str = "") -> Request:
    """Withdraw one's own wish for changes. If every seat is filled by now, and no other wish stands, that approves it.

    Raises NotFound, Settled, RequestExpired, NothingToWithdraw.
    """
    comment = _cleaned(comment)
    with transaction.atomic():
        request, now = lock(request_id, access, Request.Kind.APPROVAL)
        if not take_back_ask(request, access, now, correlation_id, comment):
            raise NothingToWithdraw("You have not asked for changes here.")
        settle_if_complete(tally(request), str(access.principal.pk), now, correlation_id)
        return request


def withdraw_decision(request_id: UUID, access: Access, *, comment: str = "", correlation_id: str = "") -> Request:
    """Take back one's own approval, before its subject began. Opens an approved request again.

    Raises NotFound, Settled, RequestExpired, NothingToWithdraw, and what listeners to `reopened` raise.
    """
    comment = _cleaned(comment)
    with transaction.atomic():
        request, now = _lock_undecided(request_id, access)
        made = Decision.objects.filter(request=request, principal=access.principal.pk, approved=True)
        decision = None if request.kind == Request.Kind.ACCEPTANCE else made.first()
        if decision is None:
            raise NothingToWithdraw("You have not approved this; there is nothing to take back.")
        was_approved = request.state == Request.State.APPROVED
        facts = {**facts_about(request, access), "role": decision.role, "decided_at": decision.at.isoformat()}
        decision.delete()
        left = tally(request)
        leave_event(
            request, access, "approval.withdrawn", {**facts, "seats_open": left.missing}, comment, correlation_id
        )
        if was_approved and left.missing:
            _reopen(request, access, now, correlation_id)
        return request


def standing_asks(request: Request) -> list[Ask]:
    """The wishes for changes that nobody took back, oldest first; each knows whether it `counts`. Three queries."""
    return standing([request])[request.pk]


def settle_lapsed() -> int:
    """Approve what nothing holds any more but wishes whose authors may no longer decide; return how many.

    Nobody else could: every seat is filled. One query where no wish stands, else a few, and one lock for each approved.
    """
    wished = Ask.objects.filter(withdrawn_at=None).values("request")
    requests = list(Request.objects.filter(state="open", pk__in=wished).select_related("requester__owner"))
    wishes = standing(requests)
    free = [request for request in requests if not counting(wishes[request.pk])]
    complete = [pk for pk, counted in tallies(free).items() if counted.missing == 0] if free else []
    return sum(_settle_lapsed(pk) for pk in complete)


def can_withdraw(request: Request, decisions: Any, principal: UUID) -> bool:
    """Whether this principal has an approval to take back, as far as the request knows. Pure."""
    states = (Request.State.OPEN, Request.State.APPROVED)
    mine = any(d.approved and d.principal_id == principal for d in decisions)
    return mine and request.state in states and request.kind == Request.Kind.APPROVAL


def _ask(request_id: UUID, access: Access, comment: str, correlation_id: str) -> Request:
    request, now = lock(request_id, access, Request.Kind.APPROVAL)
    counted = tally(request, access.principal.pk)
    refuse_unless(may_decide(counted, access, approved=False))
    if not comment:
        raise CommentNeeded("Say what has to change.", issues=[issue_with("Say what has to change.")])
    if request.asks.filter(principal=access.principal.pk, withdrawn_at=None).exists():
        raise AlreadyAsked
    role = counted.role_of(access.principal.pk)
    ask = Ask(
        request=request, principal_id=access.principal.pk, role=role, digest=request.digest, comment=comment, at=now
    )
    ask.save(force_insert=True)
    attention = attention_of(request, access.principal.pk, now)
    facts = {**facts_about(request, access), "ask": str(ask.pk), "role": role, "attention": attention}
    leave_event(request, access, "approval.changes_requested", facts, comment, correlation_id)
    tell(request, "changes_requested", ask.pk)
    return request


def _settle_lapsed(request_id: UUID) -> bool:
    with transaction.atomic():
        found = Request.objects.select_for_update(of=("self",)).select_related("requester__owner")
        request, now = found.get(pk=request_id), database_time()
        if request.state != Request.State.OPEN or request.is_overdue(now):
            return False
        return settle_if_complete(tally(request), BY, now, "")


def _lock_undecided(request_id: UUID, access: Access) -> tuple[Request, Any]:
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
        raise Settled(SETTLED_WORDS.get(request.state, ""), remedies=["Look at it again to see who decided what."])
    return request, now


def _reopen(request: Request, access: Access, now: Any, correlation_id: str) -> None:
    ttl_s = int(settings.INTERLOCK.approval_ttl_s)
    request.state, request.settled_at = Request.State.OPEN, None
    request.expires_at = max(request.expires_at, now + timedelta(seconds=ttl_s))
    request.notify_at = now
    request.save(update_fields=["state", "settled_at", "expires_at", "notify_at"])
    by = str(access.principal.pk)
    reopened.send(Request, request=request, by=by, correlation_id=correlation_id, at=now, ttl_s=ttl_s)


def _cleaned(comment: str) -> str:
    comment = comment.replace("\x00", "").strip()
    if len(comment) > MAX_COMMENT:
        raise Invalid("The comment is too long.", issues=[issue_with(f"Keep it to {MAX_COMMENT} characters.")])
    return comment
