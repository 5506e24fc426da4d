"""
Sending streams on: what is sealed and not taken yet, in the order of the log, at least once.

The log itself is the queue; a stream keeps only how far it is. One worker at a time serves a stream: it claims it by
pushing its next turn out, and says what was taken with an update that is guarded by where it began.
"""

import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef

from audit.auditor.streams.sinks import SealedEvent, append_lines, read_secret, send_syslog, send_webhook
from audit.database.clock import database_time
from audit.log.events import NewEvent, Subject, record
from audit.models import Event
from audit.models.auditor import DeadLetter, Stream
from audit.models.seals import Leaf
from audit.outgoing.webhook import DeliveryFailed

log = structlog.get_logger(__name__)
ACTOR = "system:streams"
BATCH = 100
MAX_BATCH_BYTES = 512 * 1024
LEASE_S = 120.0
TURN_S = 10.0
"""For how long one stream is served before the others have their turn."""
FIRST_RETRY_S, MAX_RETRY_S = 5.0, 3_600.0
MAX_ATTEMPTS = 30
"""A receiver that is away for longer than this (about a day) loses the batch to the dead letters."""
MAX_REFUSED_ATTEMPTS = 3
"""How often a batch is offered that the receiver itself refuses, before its events are offered one by one."""


def deliver_due(limit: int = 20) -> int:
    """Serve the streams whose turn it is; return how many had something to be sent."""
    found = _dequeue(limit)
    for stream in found:
        _deliver_stream(stream)
    return len(found)


def _dequeue(limit: int) -> list[Stream]:
    with transaction.atomic():
        now = database_time()
        waiting = Leaf.objects.filter(tenant=OuterRef("tenant"), log_index__gte=OuterRef("position"))
        due = Stream.objects.filter(Exists(waiting), is_active=True, next_at__lte=now)
        found = list(due.select_for_update(skip_locked=True, of=("self",)).order_by("next_at")[:limit])
        Stream.objects.filter(pk__in=[s.pk for s in found]).update(next_at=now + timedelta(seconds=LEASE_S))
    return found


def _deliver_stream(stream: Stream) -> None:
    """Send batch after batch until there is no more, it fails, or its turn is over."""
    until = time.monotonic() + TURN_S
    while time.monotonic() < until:
        batch, reached = next_batch(stream)
        if reached == stream.position:
            break
        try:
            offset = _send(stream, batch) if batch else stream.offset
        except DeliveryFailed as refused:
            _handle_failure(stream, batch, reached, refused)
            return
        if not _advance(stream, reached, offset=offset, sent=F("sent") + len(batch), sent_at=database_time()):
            return
        stream.offset = offset
    Stream.objects.filter(pk=stream.pk, position=stream.position).update(next_at=database_time())


def next_batch(stream: Stream) -> tuple[list[SealedEvent], int]:
    """The next events that the stream wants, and the position behind everything that was looked at. Two queries."""
    leaves = _leaves(stream.tenant, stream.position, stream.position + BATCH - 1)
    batch: list[SealedEvent] = []
    size = 0
    for sent, verb in _events(leaves):
        if size + len(sent.body) > MAX_BATCH_BYTES and batch:
            return batch, sent.log_index
        if wants(stream, verb):
            batch.append(sent)
            size += len(sent.body)
    return batch, (leaves[-1].log_index + 1 if leaves else stream.position)


def wants(stream: Stream, verb: str) -> bool:
    return not stream.verbs or verb.startswith(tuple(stream.verbs))


def _leaves(tenant: UUID, first: int, last: int) -> list[Leaf]:
    return list(Leaf.objects.filter(tenant=tenant, log_index__range=(first, last)).order_by("log_index"))


def _events(leaves: Sequence[Leaf]) -> list[tuple[SealedEvent, str]]:
    """The events of these leaves, with their verbs. What was archived meanwhile is no longer here to be sent."""
    found = Event.objects.in_bulk([leaf.event_id for leaf in leaves])
    known = [(leaf, found[leaf.event_id]) for leaf in leaves if leaf.event_id in found]
    return [(SealedEvent(leaf.log_index, bytes(event.body), bytes(event.hash)), event.verb) for leaf, event in known]


def _send(stream: Stream, batch: Sequence[SealedEvent]) -> int:
    """Send a batch; return where the stream's file ends now. Raises DeliveryFailed."""
    if stream.kind == Stream.Kind.FILE:
        return append_lines(stream, batch)
    if stream.kind == Stream.Kind.WEBHOOK:
        send_webhook(stream, read_secret(stream), batch, int(database_time().timestamp()))
    else:
        send_syslog(stream, batch)
    return stream.offset


def _handle_failure(stream: Stream, batch: Sequence[SealedEvent], reached: int, why: DeliveryFailed) -> None:
    """Try again later; once it is clear that waiting does not help, leave the batch to the dead letters and go on."""
    failures, now = stream.failures + 1, database_time()
    log.warning("stream_delivery_failed", stream=str(stream.pk), failures=failures, why=str(why))
    if why.status == 410:
        pause(stream, by=ACTOR, why="the receiver answered 410 Gone")
        return
    if _is_refusal(why) and failures >= MAX_REFUSED_ATTEMPTS:
        _send_one_by_one(stream, batch, reached)
        return
    if failures >= MAX_ATTEMPTS:
        abandon(stream, batch, str(why))
        _advance(stream, reached)
        Stream.objects.filter(pk=stream.pk).update(next_at=now)
        return
    Stream.objects.filter(pk=stream.pk, position=stream.position).update(
        failures=failures, fault=str(why)[:300], next_at=now + _retry_delay(failures, why)
    )


def _is_refusal(why: DeliveryFailed) -> bool:
    """Whether the receiver will refuse the same batch again."""
    return why.status is not None and 400 <= why.status < 500 and why.status not in (401, 403, 404, 408, 429)


def _retry_delay(failures: int, why: DeliveryFailed) -> timedelta:
    usual = min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)
    return timedelta(seconds=max(usual, why.retry_after_s or 0.0))


def _send_one_by_one(stream: Stream, batch: Sequence[SealedEvent], reached: int) -> None:
    """Send each event alone: only those that are refused even so become dead letters."""
    for sent in batch:
        try:
            _send(stream, [sent])
        except DeliveryFailed as why:
            if not _is_refusal(why):
                _defer(stream, str(why))
                return
            abandon(stream, [sent], str(why))
        if not _advance(stream, sent.log_index + 1):
            return
    _advance(stream, reached)
    Stream.objects.filter(pk=stream.pk).update(next_at=database_time())


def _defer(stream: Stream, why: str) -> None:
    later = database_time() + timedelta(seconds=FIRST_RETRY_S)
    Stream.objects.filter(pk=stream.pk, position=stream.position).update(failures=1, fault=why[:300], next_at=later)


def _advance(stream: Stream, reached: int, **more: Any) -> bool:
    """Go on behind what was taken or given up; False if somebody else has gone on meanwhile."""
    moved = Stream.objects.filter(pk=stream.pk, position=stream.position).update(
        position=reached, failures=0, fault="", **more
    )
    stream.position, stream.failures = reached, 0
    return bool(moved)


def abandon(stream: Stream, batch: Sequence[SealedEvent], why: str) -> None:
    """Leave events to the dead letters. Event `stream.abandoned`."""
    first, last = batch[0].log_index, batch[-1].log_index
    facts = {"first": first, "last": last, "events": len(batch)}
    with transaction.atomic():
        DeadLetter.objects.create(stream=stream, fault=why[:300], **facts)
        record(NewEvent(stream.tenant, subject_of(stream), "stream.abandoned", ACTOR, outcome="failed", facts=facts))


def resend(stream: Stream, letter: DeadLetter, by: str) -> int:
    """Send a dead letter's events again, now; return how many. Raises DeliveryFailed. Event `stream.resent`."""
    batch = [sent for sent, verb in _events(_leaves(stream.tenant, letter.first, letter.last)) if wants(stream, verb)]
    for n in range(0, len(batch), BATCH):
        stream.offset = _send(stream, batch[n : n + BATCH])
    with transaction.atomic():
        Stream.objects.filter(pk=stream.pk).update(offset=stream.offset)
        DeadLetter.objects.filter(pk=letter.pk).update(resent_at=database_time())
        facts = {"first": letter.first, "last": letter.last, "events": len(batch)}
        record(NewEvent(stream.tenant, subject_of(stream), "stream.resent", by, facts=facts))
    return len(batch)


def pause(stream: Stream, by: str, why: str = "") -> None:
    """Send nothing more until somebody resumes it. Event `stream.paused`."""
    with transaction.atomic():
        if Stream.objects.filter(pk=stream.pk, is_active=True).update(is_active=False, fault=why[:300]):
            record(
                NewEvent(stream.tenant, subject_of(stream), "stream.paused", by, private={"why": why} if why else {})
            )


def resume(stream: Stream, by: str) -> None:
    """Go on where it was paused, at once. Event `stream.resumed`."""
    with transaction.atomic():
        now = database_time()
        if Stream.objects.filter(pk=stream.pk).update(is_active=True, failures=0, fault="", next_at=now):
            record(NewEvent(stream.tenant, subject_of(stream), "stream.resumed", by))


def subject_of(stream: Stream) -> Subject:
    return Subject("stream", stream.pk, stream.name, "/audit/streams/")


def count_behind(streams: Sequence[Stream], sizes: dict[UUID, int]) -> dict[UUID, int]:
    """How many sealed events each stream has not taken, given the size of each tenant's log. Pure."""
    return {s.pk: max(0, sizes.get(s.tenant, 0) - s.position) for s in streams}


def is_due(at: datetime) -> bool:
    """Whether a stream waits to be served."""
    waiting = Leaf.objects.filter(tenant=OuterRef("tenant"), log_index__gte=OuterRef("position"))
    return Stream.objects.filter(Exists(waiting), is_active=True, next_at__lte=at).exists()
