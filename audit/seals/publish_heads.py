"""Send signed tree heads elsewhere, where an administrator cannot rewrite them: a file, a web address, mail.

Only the newest head is sent, and not more often than its target asks: each head vouches for all that came before it.
What a target did not take is tried again; nobody waits for it.
"""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q

from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models.seals import HeadTarget, SignedTreeHead
from audit.outgoing.webhook import DeliveryFailed, post, url_fault
from audit.seals.tree import newest_head

ACTOR = "system:sealer"
LEASE_S, FIRST_RETRY_S, MAX_RETRY_S = 120, 30, 3600
MIN_INTERVAL_S, MAX_INTERVAL_S = 10, 86_400 * 7
MAX_TARGETS = 20
HEADERS = {"Content-Type": "text/plain; charset=utf-8"}


def publish_due(limit: int = 5) -> int:
    """Send the newest heads to the targets whose turn it is; return how many there were."""
    due = _dequeue(limit)
    for target in due:
        head = newest_head(target.tenant)
        if head is None:
            continue
        try:
            SENDERS[target.kind](target, head)
        except (DeliveryFailed, OSError) as error:
            _record_failure(target, str(error) or type(error).__name__)
        else:
            _record_delivery(target, head)
    return len(due)


def add_target(tenant: UUID, kind: str, address: str, every_s: int, by: str, allow_private: bool = False) -> HeadTarget:
    """Add a target. Event `head_target.added`. Raises Invalid, Conflict."""
    address = address.strip()
    if fault := address_fault(kind, address):
        raise Invalid(fault)
    if not MIN_INTERVAL_S <= every_s <= MAX_INTERVAL_S:
        raise Invalid(f"Tree heads are sent every {MIN_INTERVAL_S} to {MAX_INTERVAL_S} seconds.")
    if HeadTarget.objects.filter(tenant=tenant).count() >= MAX_TARGETS:
        raise Conflict(f"Tree heads go to at most {MAX_TARGETS} sinks. Remove one first.")
    try:
        with transaction.atomic():
            target = HeadTarget.objects.create(
                tenant=tenant, kind=kind, address=address, every_s=every_s, allow_private=allow_private
            )
            _record_event(target, "head_target.added", by)
    except IntegrityError:
        raise Conflict("This sink exists already.") from None
    return target


def remove_target(tenant: UUID, target_id: int, by: str) -> None:
    """Event `head_target.removed`. Raises NotFound for unknown and foreign ones alike."""
    with transaction.atomic():
        target = HeadTarget.objects.filter(tenant=tenant, pk=target_id).first()
        if target is None:
            raise NotFound
        _record_event(target, "head_target.removed", by)
        target.delete()


def address_fault(kind: str, address: str) -> str:
    """Why tree heads cannot be sent there; empty when they can. Pure: resolves no name."""
    if kind == HeadTarget.Kind.FILE:
        return "A file needs no address; the installation sets its path." if address else ""
    if kind == HeadTarget.Kind.HTTP:
        return url_fault(address)
    if kind != HeadTarget.Kind.EMAIL:
        return "Choose file, http or email."
    try:
        validate_email(address)
    except ValidationError:
        return "This is not a mail address."
    return ""


def target_file(tenant: UUID) -> Path:
    """Where a tenant's heads are appended, one note after another."""
    return (settings.INTERLOCK.heads_dir or settings.INTERLOCK.var / "heads") / f"{tenant}.heads"


def _to_file(target: HeadTarget, head: SignedTreeHead) -> None:
    path = target_file(target.tenant)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, head.note.encode())
        os.fsync(file)
    finally:
        os.close(file)


def _to_http(target: HeadTarget, head: SignedTreeHead) -> None:
    post(target.address, head.note.encode(), HEADERS, allow_private=target.allow_private)


def _to_email(target: HeadTarget, head: SignedTreeHead) -> None:
    text = (
        f"{head.note}\nKeep this mail: it contains the signed tree head of the first {head.size} entries "
        f"of the audit log. To check the log against it, paste the lines above at "
        f"{settings.INTERLOCK.address}/verify/.\n"
    )
    EmailMessage(f"Audit log {target.tenant}: tree head {head.number}", text, to=[target.address]).send()


SENDERS: dict[str, Callable[[HeadTarget, SignedTreeHead], None]] = {
    "file": _to_file,
    "http": _to_http,
    "email": _to_email,
}


def _dequeue(limit: int) -> list[HeadTarget]:
    """Targets whose turn it is and that do not have the newest head; nobody else takes them meanwhile."""
    with transaction.atomic():
        now = database_time()
        later = SignedTreeHead.objects.filter(tenant=OuterRef("tenant"), number__gt=OuterRef("published_number"))
        due = HeadTarget.objects.filter(Q(next_at=None) | Q(next_at__lte=now), Exists(later), is_active=True)
        if connection.features.has_select_for_update:
            due = due.select_for_update(skip_locked=True, of=("self",))
        found = list(due.order_by(F("next_at").asc(nulls_first=True))[:limit])
        claimed = HeadTarget.objects.filter(pk__in=[target.pk for target in found])
        claimed.update(next_at=now + timedelta(seconds=LEASE_S))
        return found


def _record_delivery(target: HeadTarget, head: SignedTreeHead) -> None:
    now = database_time()
    with transaction.atomic():
        HeadTarget.objects.filter(pk=target.pk).update(
            published_number=head.number,
            published_size=head.size,
            published_at=now,
            failures=0,
            fault="",
            next_at=now + timedelta(seconds=target.every_s),
        )
        if target.failures:
            _record_event(target, "head_target.restored", ACTOR)


def _record_failure(target: HeadTarget, why: str) -> None:
    """Record the failure once, when it begins: each event makes another head."""
    with transaction.atomic():
        HeadTarget.objects.filter(pk=target.pk).update(
            failures=F("failures") + 1, fault=why[:300], next_at=_next_attempt_at(target)
        )
        if not target.failures:
            _record_event(target, "head_target.failing", ACTOR, outcome="failed", why=why)


def _next_attempt_at(target: HeadTarget) -> datetime:
    pause = min(FIRST_RETRY_S * 2 ** min(target.failures, 10), MAX_RETRY_S)
    return database_time() + timedelta(seconds=pause)


def _record_event(target: HeadTarget, verb: str, by: str, outcome: str = "ok", why: str = "") -> None:
    subject = Subject("head_target", uuid5(NAMESPACE_OID, f"{target.tenant} head target {target.pk}"))
    facts = {"kind": target.kind, "every_s": target.every_s}
    private = {"address": target.address, **({"why": why} if why else {})}
    record(NewEvent(target.tenant, subject, verb, by, outcome=outcome, facts=facts, private=private))
