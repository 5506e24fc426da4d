"""Verify chains of events: hashes, links, columns, artifacts, openings; and which events an archive holds."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from audit.log.artifacts import ArtifactMissing, open_artifact
from audit.log.events import NO_EVENTS, ChainHead
from audit.models import Event, PrivateValue
from audit.models.seals import Leaf
from audit.verify import Broken, commitments_of, opens, read_event

BATCH = 500  # events in memory at a time
MAX_REMEMBERED = 100_000  # digests of artifacts that were found intact
COLUMNS = ("tenant", "subject_kind", "subject_id", "verb", "outcome", "actor", "correlation_id", "at")
HEAD_LINE = re.compile(r"(?P<id>[0-9a-f-]{36}) (?P<seq>\d{1,18}) (?P<hash>[0-9a-f]{64})")


@dataclass
class ChainReport:
    """What was looked at, and the first thing that is broken. `head` is that of the last subject.

    `sealed` events of a subject that was verified alone are in the log, which had `entries` then.
    """

    events: int = 0
    subjects: int = 0
    artifacts: int = 0
    openings: int = 0
    sealed: int = 0
    entries: int = 0
    head: ChainHead = NO_EVENTS
    broken: Broken | None = None

    @property
    def ok(self) -> bool:
        return self.broken is None

    def __str__(self) -> str:
        if self.broken:
            return f"BROKEN {self.broken}"
        return (
            f"verified: {self.events} events of {self.subjects} subjects, "
            f"{self.artifacts} artifacts, {self.openings} openings"
        )


def verify_subject_chain(tenant: UUID, kind: str, subject_id: UUID) -> ChainReport:
    """Verify one subject's chain."""
    return _verify_chains(
        Event.objects.filter(tenant=tenant, subject_kind=kind, subject_id=subject_id), {}, _ignore_head
    )


def verify_chains(
    *,
    tenant: UUID | None = None,
    subject_id: UUID | None = None,
    known_heads: Mapping[UUID, ChainHead] | None = None,
    on_head: Callable[[UUID, ChainHead], object] | None = None,
) -> ChainReport:
    """Verify everything, or one tenant's or one subject's part, subject by subject, up to the first broken item.

    `known_heads` were kept from an earlier run: a chain that lost or replaced them is broken. `on_head` gets each
    subject's head once its chain is verified.
    """
    part = Q(**({"tenant": tenant} if tenant else {}), **({"subject_id": subject_id} if subject_id else {}))
    known = {i: h for i, h in (known_heads or {}).items() if subject_id in (None, i)}
    if tenant and known:
        elsewhere = Event.objects.exclude(tenant=tenant).filter(subject_id__in=known)
        known = {i: h for i, h in known.items() if i not in set(elsewhere.values_list("subject_id", flat=True))}
    return _verify_chains(Event.objects.filter(part), known, on_head or _ignore_head)


def parse_heads(lines: Iterable[str]) -> dict[UUID, ChainHead]:
    """Heads from lines of `head_line`. Raises ValueError for anything else."""
    heads = {}
    for n, line in enumerate(lines, 1):
        match = HEAD_LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"line {n} is not a subject, a seq and a hash")
        heads[UUID(match["id"])] = ChainHead(int(match["seq"]), bytes.fromhex(match["hash"]))
    return heads


def format_head(subject_id: UUID, head: ChainHead) -> str:
    return f"{subject_id} {head.seq} {head.hash.hex()}\n"


def _ignore_head(subject_id: UUID, head: ChainHead) -> None:
    pass


def _verify_chains(
    events: QuerySet[Event], known: dict[UUID, ChainHead], on_head: Callable[[UUID, ChainHead], object]
) -> ChainReport:
    verifier = _ChainVerifier(dict(known), on_head)
    try:
        contents = Contents(verifier.report)
        for batch in _batches(events.order_by("subject_id", "seq").iterator(chunk_size=BATCH)):
            contents.check([(event, verifier.step(event)) for event in batch])
        verifier.finish()
    except Broken as broken:
        verifier.report.broken = broken
    return verifier.report


def _batches(events: Iterator[Event]) -> Iterator[list[Event]]:
    while batch := list(islice(events, BATCH)):
        yield batch


@dataclass
class Contents:
    """What events name: artifacts, and openings that were not erased. Counts in the report; raises Broken."""

    report: ChainReport
    intact: set[tuple[UUID, str]] = field(default_factory=set)

    def check(self, batch: Iterable[tuple[Event, dict[str, Any]]]) -> None:
        """Events with their envelopes; what they name is looked at once."""
        checked = list(batch)
        for event, envelope in checked:
            for digest in envelope["artifacts"]:
                self._artifact(event, digest)
        committed = [(event, commitments) for event, envelope in checked if (commitments := commitments_of(envelope))]
        if committed:
            self._openings(committed)

    def _openings(self, committed: list[tuple[Event, dict[str, str]]]) -> None:
        by_place = {(event.subject_id, event.seq): (event, commitments) for event, commitments in committed}
        seqs = [seq for _, seq in by_place]
        kept = PrivateValue.objects.filter(
            subject_id__in={i for i, _ in by_place}, seq__range=(min(seqs), max(seqs)), salt__isnull=False
        )
        for row in kept.order_by("subject_id", "seq", "name").iterator(chunk_size=BATCH):
            event, commitments = by_place.get((row.subject_id, row.seq), (None, {}))
            if event is None:
                continue
            commitment = commitments.get(row.name)
            if commitment is None or not opens(commitment, bytes(row.salt or b""), bytes(row.value or b"")):
                item = f"opening of {row.name!r} in {event_name(event)}"
                raise Broken("opening_mismatch", item, "it is not what the event committed to")
            self.report.openings += 1

    def _artifact(self, event: Event, digest: str) -> None:
        if (event.tenant, digest) in self.intact:
            return
        sha256 = hashlib.sha256()
        try:
            for chunk in open_artifact(event.tenant, digest):
                sha256.update(chunk)
        except ArtifactMissing as error:
            raise Broken("artifact_missing", f"artifact {digest}", f"{event_name(event)} names it; {error}") from error
        if sha256.hexdigest() != digest:
            raise Broken(
                "artifact_edited", f"artifact {digest}", f"{event_name(event)} names it, and its bytes have changed"
            )
        self.report.artifacts += 1
        if len(self.intact) >= MAX_REMEMBERED:
            self.intact.clear()
        self.intact.add((event.tenant, digest))


@dataclass
class _ChainVerifier:
    """The position: the last event of the chain it is in."""

    known: dict[UUID, ChainHead]
    on_head: Callable[[UUID, ChainHead], object]
    report: ChainReport = field(default_factory=ChainReport)
    last: Event | None = None

    def step(self, event: Event) -> dict[str, Any]:
        """Check one event against itself and the one before; return its envelope."""
        if self.last is None or self.last.subject_id != event.subject_id:
            self._leave_subject()
            self.last = None
            self.report.subjects += 1
            self.report.head = NO_EVENTS
        envelope = check_event(event)
        self._check_link(event, envelope)
        self.last = event
        self.report.head = ChainHead(event.seq, bytes(event.hash))
        self.report.events += 1
        anchor = self.known.get(event.subject_id)
        if anchor and anchor.seq == event.seq:
            if anchor.hash != self.report.head.hash:
                raise Broken("edited", event_name(event), "its hash differs from the head that was kept")
            del self.known[event.subject_id]
        return envelope

    def finish(self) -> None:
        """Everything was seen: what was promised and not seen is missing."""
        self._leave_subject()
        for subject_id in self.known:
            raise Broken("missing", f"event #1 of {subject_id}", "a head of it was kept, but it has no events")

    def _leave_subject(self) -> None:
        if self.last is not None:
            anchor = self.known.get(self.last.subject_id)
            if anchor:
                missing = f"event #{self.last.seq + 1} of {self.last.subject_kind} {self.last.subject_id}"
                raise Broken("missing", missing, f"the head that was kept is #{anchor.seq}")
            self.on_head(self.last.subject_id, self.report.head)

    def _check_link(self, event: Event, envelope: dict[str, Any]) -> None:
        last, head = self.last, self.report.head
        is_cut = event.seq > 1 and head is NO_EVENTS
        if is_cut and are_archived(event.tenant, event.subject_id, 1, event.seq - 1):
            return  # its beginning left the database, and is in an archive
        if event.seq != head.seq + 1:
            missing = f"event #{head.seq + 1} of {event.subject_kind} {event.subject_id}"
            raise Broken("missing", missing, f"#{event.seq} stands in its place")
        if envelope["prev"] != head.hash.hex():
            if last is None:
                raise Broken("edited", event_name(event), "it names a previous event, but it is the first")
            raise Broken("edited", event_name(last), f"its hash is not the one that #{event.seq} was chained to")
        if last and last.tenant != event.tenant:  # kinds may share an id, tenants may not
            raise Broken("edited", event_name(event), "it belongs to another tenant than the events before it")


def check_event(event: Event) -> dict[str, Any]:
    """The envelope, after checking that its bytes have the stored hash and that the columns repeat it."""
    body = bytes(event.body)
    if hashlib.sha256(body).digest() != bytes(event.hash):
        raise Broken("edited", event_name(event), "its bytes do not have the hash that is stored with them")
    envelope = read_event(body, event_name(event))
    if envelope["seq"] != event.seq:
        raise Broken("reordered", event_name(event), f"it was recorded as #{envelope['seq']}")
    said = {**envelope, **{f"subject_{name}": value for name, value in envelope["subject"].items()}}
    stored = {name: str(getattr(event, name)) for name in COLUMNS}
    stored["at"] = event.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    for name in COLUMNS:
        if said[name] != stored[name]:
            raise Broken("column_mismatch", event_name(event), f"its column {name} is not what was recorded")
    return envelope


def event_name(event: Event) -> str:
    return f"event #{event.seq} of {event.subject_kind} {event.subject_id}"


# What may be missing from the database because it is in an archive. What an archive covers is told by the log itself:
# the sealed events `log.archived`, which are never pruned; a row that anybody could write would be no excuse.


def archived_upto(tenant: UUID) -> int:
    """Below which log index everything was archived, without a gap from the beginning. One query."""
    told = Event.objects.filter(tenant=tenant, verb="log.archived").order_by("id").values_list("body", flat=True)
    ranges = sorted((f["first"], f["upto"]) for f in (json.loads(bytes(body))["facts"] for body in told))
    upto = 0
    for first, end in ranges:
        upto = max(upto, end) if first <= upto else upto
    return upto


def are_archived(tenant: UUID, subject_id: UUID, first: int, last: int, upto: int | None = None) -> bool:
    """Whether these events of a subject, by seq, were all sealed and archived. `upto`: `archived_upto`, if known."""
    upto = archived_upto(tenant) if upto is None else upto
    sealed = Leaf.objects.filter(tenant=tenant, subject_id=subject_id, seq__range=(first, last), log_index__lt=upto)
    return upto > 0 and sealed.count() == last - first + 1
