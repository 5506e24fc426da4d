"""Create, pause, resume and remove export streams. Each command leaves an event on the stream."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Sum

from audit.auditor.streams import delivery
from audit.auditor.streams.sinks import address_fault, new_secret
from audit.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from audit.log.events import NewEvent, record
from audit.models.auditor import DeadLetter, Stream
from audit.models.seals import Tree
from audit.outgoing.webhook import DeliveryFailed

MAX_STREAMS = 20
MAX_VERBS = 20
VERB = re.compile(r"[a-z_]+(\.[a-z_]*)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass
class StreamRequest:
    """The settings of a new stream. `from_start`: send the whole log, not only new events."""

    name: str
    kind: str
    address: str = ""
    verbs: list[str] = field(default_factory=list)
    allow_private: bool = False
    from_start: bool = False

    def issues(self) -> list[dict[str, str]]:
        found = []
        if not NAME.fullmatch(self.name):
            found.append(("name", "Up to 64 letters, digits, dashes and underscores; a letter or digit first."))
        if self.kind not in Stream.Kind.values:
            found.append(("kind", f"One of {', '.join(Stream.Kind.values)}."))
        elif fault := address_fault(self.kind, self.address):
            found.append(("address", fault))
        if len(self.address) > 500:
            found.append(("address", "At most 500 characters."))
        if len(self.verbs) > MAX_VERBS or not all(VERB.fullmatch(verb) and len(verb) <= 64 for verb in self.verbs):
            found.append(("verbs", f"At most {MAX_VERBS} verb prefixes, such as `action.` or `approval`."))
        return [{"severity": "error", "field": name, "message": message} for name, message in found]


def create(
    tenant: UUID, wanted: StreamRequest, by: str, *, may_reach_private_networks: bool = False
) -> tuple[Stream, str]:
    """
    Begin a stream; return it and a webhook's secret, which is shown this once. Raises Invalid, Conflict, Forbidden.

    `may_reach_private_networks`: whether the caller may send to loopback and private addresses.
    """
    if wanted.allow_private and not may_reach_private_networks:
        raise Forbidden(
            "Only an administrator of the installation can send to loopback and private addresses.",
            remedies=["Leave it out, or ask an administrator of the installation to create this stream."],
        )
    if issues := wanted.issues():
        raise Invalid("; ".join(i["message"] for i in issues), issues=issues)
    stream = Stream(
        tenant=tenant,
        name=wanted.name,
        kind=wanted.kind,
        address=wanted.address,
        verbs=wanted.verbs,
        allow_private=wanted.allow_private,
        position=0 if wanted.from_start else _log_size(tenant),
    )
    secret = new_secret(stream) if stream.kind == Stream.Kind.WEBHOOK else ""
    facts = {"kind": stream.kind, "verbs": stream.verbs, "from": stream.position, "private": stream.allow_private}
    try:
        with transaction.atomic():
            if Stream.objects.filter(tenant=tenant).count() >= MAX_STREAMS:
                raise Conflict(f"A tenant has at most {MAX_STREAMS} streams.", remedies=["Remove one first."])
            stream.save(force_insert=True)
            private = {"name": stream.name, **({"address": stream.address} if stream.address else {})}
            record(NewEvent(tenant, delivery.subject_of(stream), "stream.created", by, facts=facts, private=private))
    except IntegrityError as taken:
        raise Conflict(f"A stream named {wanted.name!r} exists already.", remedies=["Choose another name."]) from taken
    return stream, secret


def _log_size(tenant: UUID) -> int:
    tree = Tree.objects.filter(pk=tenant).first()
    return tree.size if tree else 0


def find_stream(tenant: UUID, stream_id: UUID) -> Stream:
    """A stream of this tenant. Raises NotFound."""
    stream = Stream.objects.filter(pk=stream_id, tenant=tenant).first()
    if stream is None:
        raise NotFound
    return stream


def pause(tenant: UUID, stream_id: UUID, by: str) -> str:
    delivery.pause(find_stream(tenant, stream_id), by)
    return "Paused. No events are lost; the stream resumes where it stopped."


def resume(tenant: UUID, stream_id: UUID, by: str) -> str:
    delivery.resume(find_stream(tenant, stream_id), by)
    return "Resumed where it stopped."


def remove(tenant: UUID, stream_id: UUID, by: str) -> str:
    """Remove a stream. A file keeps its contents."""
    stream = find_stream(tenant, stream_id)
    with transaction.atomic():
        record(NewEvent(tenant, delivery.subject_of(stream), "stream.removed", by, facts={"at": stream.position}))
        stream.delete()
    return f"{stream.name} is removed."


def renew_secret(tenant: UUID, stream_id: UUID, by: str) -> tuple[Stream, str]:
    """Sign with a new secret from now on; return it, which is shown this once. Raises Conflict."""
    stream = find_stream(tenant, stream_id)
    if stream.kind != Stream.Kind.WEBHOOK:
        raise Conflict("Only webhooks have a signing secret.")
    secret = new_secret(stream)
    with transaction.atomic():
        Stream.objects.filter(pk=stream.pk).update(secret=stream.secret)
        record(NewEvent(tenant, delivery.subject_of(stream), "stream.secret_renewed", by))
    return stream, secret


def resend(tenant: UUID, stream_id: UUID, by: str) -> str:
    """Send dead letters again, oldest first, until a delivery fails. Raises Unavailable."""
    stream = find_stream(tenant, stream_id)
    sent = 0
    for letter in stream.dead_letters.filter(resent_at=None).order_by("pk")[:20]:
        try:
            sent += delivery.resend(stream, letter, by)
        except DeliveryFailed as why:
            raise Unavailable(f"{sent} events arrived, then delivery failed: {why}") from why
    return f"{sent} events were sent again."


@dataclass(frozen=True)
class StreamStatus:
    """A stream and its state: its lag, and how many events are dead letters."""

    stream: Stream
    behind: int
    abandoned: int

    @property
    def state(self) -> str:
        if not self.stream.is_active:
            return "paused"
        return "failing" if self.stream.failures else "live"


def list_statuses(tenant: UUID) -> list[StreamStatus]:
    """Every stream of a tenant, by name. Three queries."""
    streams: Sequence[Stream] = list(Stream.objects.filter(tenant=tenant).order_by("name"))
    behind = delivery.count_behind(streams, {tenant: _log_size(tenant)} if streams else {})
    letters = DeadLetter.objects.filter(stream__in=streams, resent_at=None)
    abandoned: dict[UUID, int] = dict(letters.values_list("stream").annotate(events=Sum("events")))
    return [StreamStatus(s, behind[s.pk], abandoned.get(s.pk, 0)) for s in streams]
