"""Send what is due: mail through Django, everything else through Apprise. A failure never touches a decision.

A notification is leased before it is sent, and retried with growing pauses; one that is abandoned is an event on the
subject and is shown on its page. Apprise addresses carry credentials, so they are stored encrypted.
"""

import json
from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import apprise
import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q

from approvals.models import Notification, NotificationRule, Request
from approvals.notifications.enqueue import WAITING_EVENTS, enqueue_due
from audit.changes.masking import visible
from audit.database.clock import database_time
from audit.log.events import NewEvent, Subject, record
from audit.log.subjects import describe_subject
from audit.outgoing.webhook import guarded
from tenants.models import Environment, Principal
from tenants.vault import decrypt, encrypt

HTTP_SCHEMES = (
    "json xml form mmost ntfy rocket gotify matrix",
    "slack discord msteams workflows gchat tgram pagerduty opsgenie",
)
SCHEMES = frozenset(
    [
        *HTTP_SCHEMES[0].split(),
        *(f"{name}s" for name in HTTP_SCHEMES[0].split()),
        *HTTP_SCHEMES[1].split(),
        "webexteams",
    ]
)
"""All of them speak HTTP, so that the addresses they connect to can be checked."""
MAX_URLS = 10


def url_fault(url: str) -> str:
    """Why this address cannot be used; empty when it can. Pure."""
    scheme = urlsplit(url).scheme if url.isprintable() and " " not in url else ""
    if scheme not in SCHEMES:
        return f"Write an Apprise address that begins with one of: {', '.join(sorted(SCHEMES))} (then ://)."
    return ""


def encrypt_urls(rule: NotificationRule, urls: list[str]) -> None:
    """Put the addresses into the rule, encrypted for this rule alone; the caller saves it."""
    rule.urls = encrypt(rule.tenant_id, json.dumps(urls).encode(), _encryption_context(rule)) if urls else None


def decrypt_urls(rule: NotificationRule) -> list[str]:
    """The addresses in the clear. Raises what `tenants.vault.decrypt` raises."""
    if not rule.urls:
        return []
    found: list[str] = json.loads(decrypt(rule.tenant_id, bytes(rule.urls), _encryption_context(rule)))
    return found


def _encryption_context(rule: NotificationRule) -> str:
    return f"notify rule {rule.pk}"


log = structlog.get_logger(__name__)
ACTOR = "system:notify"
LEASE_S, MAX_ATTEMPTS, FIRST_PAUSE_S = 120, 6, 20
EVENT_TEXTS = {
    "opened": "awaits your decision",
    "reminder": "still awaits your decision",
    "escalation": "is about to expire without a decision",
    "changes_requested": "needs changes",
}
OUTCOME_TEXTS = {
    "approved": "was approved",
    "rejected": "was rejected",
    "expired": "expired: not decided in time",
    "void": "has a new plan: earlier approvals are void",
    "cancelled": "was withdrawn",
    "open": "awaits approval again",
}


class DeliveryFailed(Exception):
    """The other side did not accept it; the message says why."""


def send_due(limit: int = 50) -> int:
    """Store what is due, then send some of it; return how many notifications were tried."""
    while enqueue_due() >= 100:
        pass
    leased = _lease_due(limit)
    done: Counter[tuple[Any, str, str]] = Counter()
    for notification in leased:
        done[notification.request, notification.kind, _attempt(notification)] += 1
    for (request, kind, state), count in done.items():
        if state in (Notification.State.SENT, Notification.State.FAILED):
            _record(request, f"notification.{state}", kind, count)
    return len(leased)


def _lease_due(limit: int) -> list[Notification]:
    with transaction.atomic():
        now = database_time()
        free = Q(claimed_until=None) | Q(claimed_until__lt=now)
        due = Notification.objects.filter(free, state="due", next_at__lte=now)
        locked = due.select_for_update(skip_locked=True, of=("self",))
        found = list(locked.select_related("request__requester__owner", "request__tenant").order_by("next_at")[:limit])
        until = now + timedelta(seconds=LEASE_S)
        Notification.objects.filter(pk__in=[n.pk for n in found]).update(claimed_until=until)
    return found


def _attempt(notification: Notification) -> str:
    """Try one notification and store the result; return its state."""
    request = notification.request
    if notification.kind in WAITING_EVENTS and Request.objects.get(pk=request.pk).state != Request.State.OPEN:
        Notification.objects.filter(pk=notification.pk).update(state=Notification.State.MOOT, claimed_until=None)
        return Notification.State.MOOT
    now, attempts = database_time(), notification.attempts + 1
    kept: dict[str, Any] = {"attempts": attempts, "claimed_until": None}
    try:
        _send(notification)
        state, kept = Notification.State.SENT, {**kept, "sent_at": now, "error": ""}
    except Exception as error:  # libraries and servers fail in every way; the row says how
        state = Notification.State.FAILED if attempts >= MAX_ATTEMPTS else Notification.State.DUE
        pause = timedelta(seconds=FIRST_PAUSE_S * 3 ** (attempts - 1))
        kept |= {"error": f"{type(error).__name__}: {error}"[:300], "next_at": now + pause}
        log.warning(
            "notification_failed",
            notification=str(notification.pk),
            kind=notification.kind,
            attempt=attempts,
            error=kept["error"],
        )
    Notification.objects.filter(pk=notification.pk).update(state=state, **kept)
    return state


def _send(notification: Notification) -> None:
    title, body = message_of(notification)
    if notification.channel == "mail":
        to = _address(notification.recipient)
        if EmailMessage(title, body, settings.DEFAULT_FROM_EMAIL, [to]).send() != 1:
            raise DeliveryFailed("the mail server accepted no recipient")
        return
    rule = NotificationRule.objects.get(pk=notification.recipient, tenant=notification.request.tenant_id)
    environment = Environment.objects.get(pk=notification.request.environment_id)
    services = apprise.Apprise()
    for url in decrypt_urls(rule):
        if not services.add(url):
            raise DeliveryFailed("Apprise cannot read one of the rule's addresses")
    with guarded(allow_private=environment.settings.get("allow_private_targets") is True):
        if not services.notify(title=title, body=body):
            raise DeliveryFailed("a service rejected it, or its address may not be reached from here")


def message_of(notification: Notification) -> tuple[str, str]:
    """Subject and text. Links lead to the page with the decision form, after sign-in."""
    request = notification.request
    about = describe_subject(request.tenant_id, request.subject_kind, request.subject_id)
    environment = Environment.objects.get(pk=request.environment_id)
    name = " ".join(visible(about.title or f"{request.subject_kind} {request.subject_id}").split())[:150]
    words = OUTCOME_TEXTS[request.state] if notification.kind == "closed" else EVENT_TEXTS[notification.kind]
    required_approvals = ", ".join(
        f"{required['count']} × {required['role']}" for required in request.required_approvals
    )
    lines = [
        f"“{name}” in {environment.name} {words}.",
        "",
        f"Proposed by {visible(str(request.requester))}. Requires: {required_approvals or 'no approval'}.",
        *([f"Expires {request.expires_at:%Y-%m-%d %H:%M} UTC."] if notification.kind in WAITING_EVENTS else []),
        "",
        f"{settings.INTERLOCK.address}{about.url or '/'}{'#decide' if notification.kind in WAITING_EVENTS else ''}",
        "",
        "Review the changes before you decide: you approve exactly the plan shown on the page.",
    ]
    return f"[{request.tenant.name}] {name} {words}".replace("\n", " "), "\n".join(lines)


def _address(recipient: str) -> str:
    if "@" in recipient:
        return recipient
    person = Principal.objects.filter(pk=UUID(recipient), is_active=True).exclude(email="").first()
    if person is None:
        raise DeliveryFailed("this person no longer has an email address, or is no longer active")
    return person.email


def _record(request: Request, verb: str, kind: str, count: int) -> None:
    facts = {"request": str(request.pk), "kind": kind, "recipients": count}
    outcome = "ok" if verb == "notification.sent" else "failed"
    subject = Subject(request.subject_kind, request.subject_id)
    with transaction.atomic():
        record(NewEvent(request.tenant_id, subject, verb, ACTOR, outcome=outcome, facts=facts))
