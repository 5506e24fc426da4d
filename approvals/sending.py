"""Send what is due: mail through Django, everything else through Apprise. Failing never touches a decision.

A notice is claimed before it is sent, and tried again with growing pauses; what is given up is an event on the subject
and stands on its page.
"""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import apprise
import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q

from approvals.models import Request
from approvals.notices import WAITING, write_due
from approvals.records import Notice, NotifyRule
from approvals.urls_kept import urls_of
from audit.changes.visible import visible
from audit.database.clock import database_time
from audit.log.events import NewEvent, Subject, record
from audit.log.subjects import describe_subject
from audit.outgoing.webhook import guarded
from tenants.models import Environment, Principal

log = structlog.get_logger(__name__)
BY = "system:notify"
CLAIM_S, MOST_TRIES, FIRST_PAUSE_S = 120, 6, 20
WORDS = {
    "opened": "waits for your decision",
    "reminder": "still waits for your decision",
    "escalation": "is about to expire without a decision",
    "changes_requested": "is asked to be changed",
}
ENDS = {
    "approved": "was approved",
    "rejected": "was rejected",
    "expired": "expired: nobody decided in time",
    "void": "was planned anew: what was asked is void",
    "cancelled": "was withdrawn",
    "open": "was approved, but waits again",
}


class NotSent(Exception):
    """The other side did not take it; why, in words."""


def notify(limit: int = 50) -> int:
    """Write what is due, then send some of it; return how many notices were tried."""
    while write_due() >= 100:
        pass
    claimed = _claim(limit)
    done: Counter[tuple[Any, str, str]] = Counter()
    for notice in claimed:
        done[notice.request, notice.kind, _tried(notice)] += 1
    for (request, kind, state), count in done.items():
        if state in (Notice.State.SENT, Notice.State.FAILED):
            _record(request, f"notice.{state}", kind, count)
    return len(claimed)


def _claim(limit: int) -> list[Notice]:
    with transaction.atomic():
        now = database_time()
        free = Q(claimed_until=None) | Q(claimed_until__lt=now)
        due = Notice.objects.filter(free, state="due", next_at__lte=now)
        locked = due.select_for_update(skip_locked=True, of=("self",))
        found = list(locked.select_related("request__requester__owner", "request__tenant").order_by("next_at")[:limit])
        until = now + timedelta(seconds=CLAIM_S)
        Notice.objects.filter(pk__in=[n.pk for n in found]).update(claimed_until=until)
    return found


def _tried(notice: Notice) -> str:
    """Try one notice and write down what came of it; return its state."""
    request = notice.request
    if notice.kind in WAITING and Request.objects.get(pk=request.pk).state != Request.State.OPEN:
        Notice.objects.filter(pk=notice.pk).update(state=Notice.State.MOOT, claimed_until=None)
        return Notice.State.MOOT
    now, attempts = database_time(), notice.attempts + 1
    kept: dict[str, Any] = {"attempts": attempts, "claimed_until": None}
    try:
        _send(notice)
        state, kept = Notice.State.SENT, {**kept, "sent_at": now, "error": ""}
    except Exception as error:  # libraries and servers fail in every way; the notice says how
        state = Notice.State.FAILED if attempts >= MOST_TRIES else Notice.State.DUE
        pause = timedelta(seconds=FIRST_PAUSE_S * 3 ** (attempts - 1))
        kept |= {"error": f"{type(error).__name__}: {error}"[:300], "next_at": now + pause}
        log.warning("notice_not_sent", notice=str(notice.pk), kind=notice.kind, attempt=attempts, error=kept["error"])
    Notice.objects.filter(pk=notice.pk).update(state=state, **kept)
    return state


def _send(notice: Notice) -> None:
    title, body = message_of(notice)
    if notice.channel == "mail":
        to = _address(notice.recipient)
        if EmailMessage(title, body, settings.DEFAULT_FROM_EMAIL, [to]).send() != 1:
            raise NotSent("the mail server took none")
        return
    rule = NotifyRule.objects.get(pk=notice.recipient, tenant=notice.request.tenant_id)
    place = Environment.objects.get(pk=notice.request.environment_id)
    services = apprise.Apprise()
    for url in urls_of(rule):
        if not services.add(url):
            raise NotSent("Apprise cannot read one of the rule's addresses")
    with guarded(allow_private=place.settings.get("allow_private_targets") is True):
        if not services.notify(title=title, body=body):
            raise NotSent("a service did not take it, or its address may not be reached from here")


def message_of(notice: Notice) -> tuple[str, str]:
    """Subject and text. Links lead to the page where it is decided, after signing in."""
    request = notice.request
    about = describe_subject(request.tenant_id, request.subject_kind, request.subject_id)
    place = Environment.objects.get(pk=request.environment_id)
    name = " ".join(visible(about.title or f"{request.subject_kind} {request.subject_id}").split())[:150]
    words = ENDS[request.state] if notice.kind == "settled" else WORDS[notice.kind]
    seats = ", ".join(f"{seat['count']} × {seat['role']}" for seat in request.seats)
    lines = [
        f"“{name}” in {place.name} {words}.",
        "",
        f"Proposed by {visible(str(request.requester))}. Asks for: {seats or 'nobody'}.",
        *([f"Time to decide ends {request.expires_at:%Y-%m-%d %H:%M} UTC."] if notice.kind in WAITING else []),
        "",
        f"{settings.INTERLOCK.address}{about.url or '/'}{'#decide' if notice.kind in WAITING else ''}",
        "",
        "Look at the changes before you decide: your approval counts for exactly the plan that the page shows you.",
    ]
    return f"[{request.tenant.name}] {name} {words}".replace("\n", " "), "\n".join(lines)


def _address(recipient: str) -> str:
    if "@" in recipient:
        return recipient
    person = Principal.objects.filter(pk=UUID(recipient), is_active=True).exclude(email="").first()
    if person is None:
        raise NotSent("this person has no mail address any more, or is no longer active")
    return person.email


def _record(request: Request, verb: str, kind: str, count: int) -> None:
    facts = {"request": str(request.pk), "kind": kind, "recipients": count}
    outcome = "ok" if verb == "notice.sent" else "failed"
    subject = Subject(request.subject_kind, request.subject_id)
    with transaction.atomic():
        record(NewEvent(request.tenant_id, subject, verb, BY, outcome=outcome, facts=facts))
