"""Deliver notifications of incidents: enqueue them with their cause, send them, retry."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q, QuerySet

from actions.incidents.messages import EVENTS_OF_KIND, decrypt_secrets, mail_text, webhook_body, webhook_headers
from actions.lifecycle.commit import action_subject
from actions.models import Delivery, Incident, Webhook
from audit.database.clock import database_time
from audit.errors import Problem
from audit.log.events import NewEvent, record
from audit.outgoing.webhook import DeliveryFailed, post
from tenants.access import who_may
from tenants.models import Principal


def enqueue_webhooks(said: Sequence[tuple[Incident, str]], at: datetime) -> None:
    """
    Enqueue these (incident, event) pairs for every webhook. Two queries; repeating it adds nothing.

    Each incident's `action__environment__tenant` and `assignee` must be joined.
    """
    if not said:
        return
    hooks = list(Webhook.objects.filter(tenant__in={t.tenant_id for t, _ in said}, enabled=True))
    rows = [
        Delivery(
            incident=incident,
            what=what,
            at=at,
            channel="webhook",
            recipient=hook.pk,
            body=webhook_body(hook.kind, incident, what, at),
            next_at=at,
        )
        for incident, what in said
        for hook in hooks
        if hook.tenant_id == incident.tenant_id
        and hook.environment_id in (None, incident.environment_id)
        and what in EVENTS_OF_KIND[Webhook.Kind(hook.kind)]
    ]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)


def enqueue_mails(incident: Incident, what: str, people: Iterable[Principal], at: datetime) -> None:
    """Enqueue a mail to each of these people who can get one."""
    able = {p.pk: p for p in people if p.is_active and p.is_person() and p.email}
    rows = [
        Delivery(
            incident=incident,
            what=what,
            at=at,
            channel="mail",
            recipient=pk,
            body=mail_text(incident, what),
            next_at=at,
        )
        for pk in able
    ]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)


# Send what is due: mails through Django, webhooks to checked addresses. A failure never changes an incident.


log = structlog.get_logger(__name__)
ACTOR = "system:incidents"
CLAIM_S, SEND_S = 120, 45.0
LOOKED_AT = 5
MAX_TRIES, FIRST_PAUSE_S = 8, 15
"""Eight tries, 15 s to 3 h apart: four and a half hours in all."""
FINAL_STATUSES = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})
"""Statuses that a retry will not change, unless the answer has a Retry-After."""


@dataclass(frozen=True)
class SendResult:
    """The result of an attempt; `final`: a retry will not help."""

    error: str = ""
    final: bool = False
    wait_s: float | None = None


def due_deliveries() -> QuerySet[Delivery]:
    now = database_time()
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    return Delivery.objects.filter(free, state="due", next_at__lte=now)


def send_due(limit: int = 10) -> int:
    """Send up to `limit` deliveries, the oldest of each recipient, so that they arrive in order; return how many."""
    with transaction.atomic():
        locked = due_deliveries().select_for_update(skip_locked=True, of=("self",))
        found = locked.select_related("incident__action__environment").order_by("next_at", "id")[: limit * LOOKED_AT]
        first: dict[UUID, Delivery] = {}
        for delivery in found:
            first.setdefault(delivery.recipient, delivery)
        claimed = list(first.values())[:limit]
        until = database_time() + timedelta(seconds=CLAIM_S)
        Delivery.objects.filter(pk__in=[d.pk for d in claimed]).update(claimed_until=until)
    for delivery, came in zip(claimed, _send_all(claimed), strict=True):
        _save_result(delivery, came)
    return len(claimed)


def _send_all(deliveries: Sequence[Delivery]) -> list[SendResult]:
    """
    Send each once, in parallel, so that all end before the claim on them expires.

    Any exception is a result; a hanging thread is abandoned.
    """
    came: dict[int, SendResult] = {}
    threads = []
    for n, delivery in enumerate(deliveries):
        try:
            send = _mail(delivery) if delivery.channel == "mail" else _webhook(delivery)
        except DeliveryFailed as refused:
            came[n] = SendResult(str(refused), final=True)
        except Problem as problem:
            came[n] = SendResult(problem.detail, final=True)
        else:
            threads.append(threading.Thread(target=_send, args=(send, came, n), name="interlock-deliver", daemon=True))
    until = time.monotonic() + SEND_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = SendResult(f"no answer within {SEND_S:.0f} s")
    return [came.get(n, late) for n in range(len(deliveries))]


def _send(send: Callable[[], Any], came: dict[int, SendResult], n: int) -> None:
    came[n] = _result(send)


def _result(send: Callable[[], Any]) -> SendResult:
    try:
        send()
    except DeliveryFailed as refused:
        final = refused.status in FINAL_STATUSES and refused.retry_after_s is None
        return SendResult(str(refused)[:300], final=final, wait_s=refused.retry_after_s)
    except Exception as error:  # mail servers fail in many ways
        return SendResult(f"{type(error).__name__}: {error}"[:300])
    return SendResult()


def _mail(delivery: Delivery) -> Callable[[], Any]:
    """
    The call that sends the mail. Raises DeliveryFailed if its person is gone or may no longer view the environment.
    """
    person = Principal.objects.filter(pk=delivery.recipient, is_active=True).exclude(email="").first()
    if person is None:
        raise DeliveryFailed("this person is no longer active or has no mail address")
    if person.pk not in who_may("view", delivery.incident.action.environment, [person.pk]):
        raise DeliveryFailed("this person may no longer view the environment")
    subject, _, text = delivery.body.partition("\n\n")
    mail = EmailMessage(" ".join(subject.split())[:250], text, settings.DEFAULT_FROM_EMAIL, [person.email])

    def send() -> None:
        if mail.send() != 1:
            raise DeliveryFailed("the mail server accepted no message")

    return send


def _webhook(delivery: Delivery) -> Callable[[], Any]:
    """The call that posts the webhook. Raises DeliveryFailed if the webhook is gone or disabled."""
    place = delivery.incident.action.environment
    hook = Webhook.objects.filter(pk=delivery.recipient, tenant=place.tenant_id, enabled=True).first()
    if hook is None:
        raise DeliveryFailed("this webhook is gone or disabled")
    hidden, body = decrypt_secrets(hook), delivery.body.encode()
    headers = webhook_headers(hook, hidden, str(delivery.pk), body, int(database_time().timestamp()))
    reach = place.settings.get("allow_private_targets") is True
    return lambda: post(hidden["url"], body, headers, allow_private=reach)


def _save_result(delivery: Delivery, came: SendResult) -> None:
    """Save the result of an attempt; the final one is an event on the action."""
    now, attempts = database_time(), delivery.attempts + 1
    kept: dict[str, Any] = {"attempts": attempts, "claimed_until": None, "error": came.error}
    if not came.error:
        state, kept = Delivery.State.SENT, {**kept, "sent_at": now}
    else:
        state = Delivery.State.FAILED if came.final or attempts >= MAX_TRIES else Delivery.State.DUE
        pause = came.wait_s if came.wait_s is not None else FIRST_PAUSE_S * 3 ** (attempts - 1)
        kept["next_at"] = now + timedelta(seconds=pause)
        log.warning("incident_not_delivered", delivery=str(delivery.pk), attempt=attempts, error=came.error)
    with transaction.atomic():
        mine = Delivery.objects.filter(pk=delivery.pk, state="due", attempts=delivery.attempts)
        if mine.update(state=state, **kept) and state != Delivery.State.DUE:
            _record(delivery, state, attempts)


def _record(delivery: Delivery, state: str, attempts: int) -> None:
    facts = {
        "incident": str(delivery.incident_id),
        "delivery": str(delivery.pk),
        "what": delivery.what,
        "attempts": attempts,
        "channel": delivery.channel,
        "recipient": str(delivery.recipient),
    }
    sent = state == Delivery.State.SENT
    action = delivery.incident.action
    record(
        NewEvent(
            action.tenant_id,
            action_subject(action),
            "incident.notified" if sent else "incident.notification_failed",
            ACTOR,
            outcome="ok" if sent else "failed",
            correlation_id=action.correlation_id,
            facts=facts,
        )
    )
