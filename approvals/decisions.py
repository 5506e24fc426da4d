"""Decide, accept, count. The one place where a person's word becomes a decision.

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

from approvals.asks import counting, standing
from approvals.attention import attention_of
from approvals.entitlement import Why, may_accept, may_decide
from approvals.errors import (
    AlreadyDecided,
    CommentNeeded,
    DigestNeeded,
    NotEntitled,
    RequestExpired,
    Settled,
    StaleDigest,
    WrongKind,
)
from approvals.models import Decision, Request
from approvals.notices import tell
from approvals.people import holders
from approvals.records import Ask
from approvals.tally import Tally, as_seats, count, tallies, tally
from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access

MAX_COMMENT = 4_000  # characters
SETTLED_WORDS = {
    "approved": "It is already approved.",
    "rejected": "It is already rejected; propose the action again to ask once more.",
    "expired": "Its time ran out; propose the action again to ask once more.",
    "void": "The plan changed, so what was asked is void; look at the new plan.",
    "cancelled": "It was withdrawn.",
}

settled = Signal()
"""Sent inside the deciding transaction: request, outcome ("approved" or "rejected"), by (actor), correlation_id, at."""


def decide(
    request_id: UUID, access: Access, *, approved: bool, digest: str | None, comment: str, correlation_id: str = ""
) -> Request:
    """Approve exactly the plan with `digest`, or reject with a comment; return the request, settled if that settled it.

    Approving fills one seat; the last one settles the request, as does a single rejection. Raises NotFound, Settled,
    RequestExpired, AlreadyDecided, NotEntitled (which leaves an event), DigestNeeded, StaleDigest, CommentNeeded.
    """
    comment = comment.replace("\x00", "").strip()
    try:
        with transaction.atomic():
            return _decide(request_id, access, approved, digest, comment, correlation_id)
    except NotEntitled as refusal:
        leave_refusal(request_id, access, "approve" if approved else "reject", refusal, correlation_id)
        raise


def accept(request_id: UUID, access: Access, *, digest: str | None, correlation_id: str = "") -> Request:
    """The requester accepts the dry-run diff with exactly this digest; return the request, which that settles.

    Only for requests of kind acceptance. Raises what `decide` raises.
    """
    try:
        with transaction.atomic():
            return _accept(request_id, access, digest, correlation_id)
    except NotEntitled as refusal:
        leave_refusal(request_id, access, "accept", refusal, correlation_id)
        raise


def can_decide(request: Request, access: Access) -> tuple[bool, str]:
    """Whether this caller could fill a seat now (or accept, where that is asked), and why not. Three queries."""
    if request.state != Request.State.OPEN:
        return False, SETTLED_WORDS[request.state]
    if request.is_overdue(database_time()):
        return False, "The time to decide is over."
    if request.kind == Request.Kind.ACCEPTANCE:
        why = may_accept(request, access)
    else:
        counted = tally(request, access.principal.pk)
        if any(made.principal_id == access.principal.pk for made in counted.decisions):
            return False, "You have already decided."
        why = may_decide(counted, access, approved=True)
    return (False, why.words) if why else (True, "")


def live_quorum(request: Request) -> bool:
    """Whether every seat is filled by someone who may still fill it. Re-check before acting on an approval."""
    return live_quorums([request])[request.pk]


def live_quorums(requests: Iterable[Request]) -> dict[UUID, bool]:
    """`live_quorum` of many, by request id. Four queries at most, none if nobody was asked."""
    requests = list(requests)
    asked = [request for request in requests if request.seats]
    counted = tallies(asked) if asked else {}
    return {
        request.pk: counted[request.pk].missing == 0 if request.seats else _was_accepted(request)
        for request in requests
    }


def seats_filled(request: Request, decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """The seats and who fills them now: [{"role", "count", "by": [Decision…]}]; distinct people, one seat each."""
    held = holders([request], {decision.principal_id for decision in decisions})
    return as_seats(count(request, decisions, held[request.pk]))


def _decide(
    request_id: UUID, access: Access, approved: bool, digest: str | None, comment: str, correlation_id: str
) -> Request:
    request, now = lock(request_id, access, Request.Kind.APPROVAL)
    counted = tally(request, access.principal.pk)
    refuse_unless(may_decide(counted, access, approved=approved))
    if approved:
        _same_digest(request, digest)
    elif not comment:
        raise CommentNeeded(issues=[issue_with("Say why you reject.")])
    if len(comment) > MAX_COMMENT:
        raise Invalid("The comment is too long.", issues=[issue_with(f"Keep it to {MAX_COMMENT} characters.")])
    if approved:
        take_back_ask(request, access, now, correlation_id)
    role = counted.seat_for(access.principal.pk) or counted.role_of(access.principal.pk)
    decision = _write(request, access, approved, role, digest if approved else request.digest, comment, now)
    after = count(request, [*counted.decisions, decision], counted.held)
    facts = {
        **facts_about(request, access),
        "role": role,
        "seats_open": after.missing,
        "attention": decision.attention,
    }
    leave_event(
        request, access, "approval.granted" if approved else "approval.rejected", facts, comment, correlation_id
    )
    if not approved:
        settle(request, Request.State.REJECTED, str(access.principal.pk), now, correlation_id)
    else:
        settle_if_complete(after, str(access.principal.pk), now, correlation_id)
    return request


def settle_if_complete(after: Tally, by: str, now: datetime, correlation_id: str) -> bool:
    """Approve the locked request if every seat is filled and nobody's wish for changes counts; return whether it did.

    Wishes that no longer count, because their authors may no longer decide, are named in an event of their own.
    """
    if after.missing:
        return False
    request = after.request
    wishes = standing([request])[request.pk]
    if counting(wishes):
        return False
    if wishes:
        facts = {"request": str(request.pk), "digest": request.digest, "asks": [str(ask.pk) for ask in wishes]}
        subject = Subject(request.subject_kind, request.subject_id)
        record(
            NewEvent(request.tenant_id, subject, "approval.ask_lapsed", by, correlation_id=correlation_id, facts=facts)
        )
    keep_seats(after)
    settle(request, Request.State.APPROVED, by, now, correlation_id)
    return True


def take_back_ask(request: Request, access: Access, now: datetime, correlation_id: str, comment: str = "") -> bool:
    """Withdraw the caller's wish for changes to a locked request, if one stands; with its event."""
    mine = Ask.objects.filter(request=request, principal=access.principal.pk, withdrawn_at=None)
    done = bool(mine.update(withdrawn_at=now))
    if done:
        leave_event(request, access, "approval.ask_withdrawn", facts_about(request, access), comment, correlation_id)
    return done


def _accept(request_id: UUID, access: Access, digest: str | None, correlation_id: str) -> Request:
    request, now = lock(request_id, access, Request.Kind.ACCEPTANCE)
    refuse_unless(may_accept(request, access))
    _same_digest(request, digest)
    made = _write(request, access, True, "requester", request.digest, "", now)
    facts = {**facts_about(request, access), "attention": made.attention}
    leave_event(request, access, "approval.accepted", facts, "", correlation_id)
    settle(request, Request.State.APPROVED, str(access.principal.pk), now, correlation_id)
    return request


def lock(request_id: UUID, access: Access, kind: str) -> tuple[Request, datetime]:
    """The request, locked and open, and the time after the lock was had: who waited past the deadline is late.

    Raises NotFound, AlreadyDecided, Settled, RequestExpired, WrongKind.
    """
    found = Request.objects.filter(pk=request_id, tenant_id=access.tenant.pk)
    request = found.select_for_update(of=("self",)).select_related("requester__owner").first()
    if request is None or not access.can("view", request.environment_id):
        raise NotFound
    now = database_time()
    if request.decisions.filter(principal=access.principal.pk).exists():
        raise AlreadyDecided
    if request.state != Request.State.OPEN:
        raise Settled(SETTLED_WORDS[request.state], remedies=["Look at it again to see who decided what."])
    if request.is_overdue(now):
        raise RequestExpired(remedies=["Propose the action again; it will be planned and judged afresh."])
    if request.kind != kind:
        raise WrongKind(
            "Nobody is asked to approve this; its requester has to accept the dry-run diff."
            if request.kind == Request.Kind.ACCEPTANCE
            else "Seats have to be filled for this; accepting the diff does not fill them."
        )
    return request, now


def refuse_unless(why: Why | None) -> None:
    if why:
        raise NotEntitled(why.words, remedies=why.remedies)


def _same_digest(request: Request, digest: str | None) -> None:
    if not digest:
        raise DigestNeeded(issues=[{"severity": "error", "message": "Send the plan's digest.", "field": "digest"}])
    if digest != request.digest:
        raise StaleDigest(
            current_digest=request.digest, remedies=["Look at the plan again, then decide on what you see."]
        )


def _write(
    request: Request, access: Access, approved: bool, role: str, digest: str | None, comment: str, now: datetime
) -> Decision:
    decision = Decision(
        request=request,
        principal_id=access.principal.pk,
        approved=approved,
        role=role,
        digest=digest or "",
        comment=comment,
        attention=attention_of(request, access.principal.pk, now),
        at=now,
    )
    decision.save(force_insert=True)
    return decision


def keep_seats(after: Tally) -> None:
    """Write down who ended up in which seat: somebody may have moved over to make room for a later one."""
    moved = []
    for seat, row in zip(after.request.seats, after.rows, strict=True):
        for decision in row:
            if decision.role != seat["role"]:
                decision.role = seat["role"]
                moved.append(decision)
    if moved:
        Decision.objects.bulk_update(moved, ["role"])


def settle(request: Request, state: Request.State, by: str, now: datetime, correlation_id: str) -> None:
    request.state, request.settled_at = state, now
    request.save(update_fields=["state", "settled_at"])
    if request.kind == Request.Kind.APPROVAL:
        tell(request, "settled", now.isoformat())
    settled.send(Request, request=request, outcome=state.value, by=by, correlation_id=correlation_id, at=now)


def leave_event(
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


def leave_refusal(request_id: UUID, access: Access, attempted: str, why: NotEntitled, correlation_id: str) -> None:
    """Leave the attempt on the subject, in a transaction of its own: the one that refused was rolled back."""
    request = Request.objects.get(pk=request_id)
    facts = {**facts_about(request, access), "attempted": attempted, "why": why.detail}
    with transaction.atomic():
        leave_event(request, access, "approval.refused", facts, "", correlation_id, outcome="refused")


def facts_about(request: Request, access: Access) -> dict[str, Any]:
    token = {"token": str(access.token.pk)} if access.token else {}
    return {"request": str(request.pk), "digest": request.digest, **token}


def _was_accepted(request: Request) -> bool:
    return request.kind == Request.Kind.ACCEPTANCE and request.state == Request.State.APPROVED


def issue_with(message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": "comment"}
