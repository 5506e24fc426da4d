"""Record what happened. Events of one subject form a hash chain; each stores the canonical bytes it was hashed from."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction

from audit.database.clock import database_time
from audit.database.statements import Rows, insert_together
from audit.log.canonical_json import canonical
from audit.models import Event, PrivateValue

ENVELOPE_VERSION = 1
MAX_ATTEMPTS = 50  # each lost race means that another event of the same subject was committed
EVENT_COLUMNS = (
    "tenant",
    "subject_kind",
    "subject_id",
    "seq",
    "verb",
    "outcome",
    "actor",
    "correlation_id",
    "at",
    "body",
    "hash",
)
PRIVATE_COLUMNS = ("tenant", "subject_id", "seq", "name", "salt", "value")
HEADS_POSTGRESQL = """
SELECT s.id, e.seq, e.hash FROM unnest(%s::uuid[]) AS s(id) CROSS JOIN LATERAL
    (SELECT seq, hash FROM audit_event WHERE subject_id = s.id ORDER BY seq DESC LIMIT 1) AS e
"""
HEADS_SQLITE = """
SELECT subject_id, max(seq), hash FROM audit_event
WHERE subject_id IN (SELECT value FROM json_each(%s)) GROUP BY subject_id
"""
Sequencer = Callable[[UUID], tuple[int, datetime]]
_sequencers: dict[str, Sequencer] = {}


@dataclass(frozen=True)
class Subject:
    """What an event is about. Title and URL are for people and never hashed."""

    kind: str
    id: UUID
    title: str = ""
    url: str = ""


@dataclass
class NewEvent:
    """An event to be. `facts` must hold neither secrets nor personal names; free text goes into `private`."""

    tenant: UUID
    subject: Subject
    verb: str
    actor: str
    outcome: str = "ok"
    correlation_id: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainHead:
    """Where a subject's chain ends: the last event's seq and hash; 0 and b"" before the first."""

    seq: int
    hash: bytes


NO_EVENTS = ChainHead(0, b"")


class BrokenChain(RuntimeError):
    """A subject's own counter and its last event disagree; nothing was recorded."""


def read_chain_heads(subject_ids: Iterable[UUID]) -> dict[UUID, ChainHead]:
    """The heads of these subjects, in one query. Stable only while the caller holds the subjects."""
    ids = list(subject_ids)
    found = dict.fromkeys(ids, NO_EVENTS)
    if ids:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(HEADS_POSTGRESQL, [ids])
            else:
                cursor.execute(HEADS_SQLITE, [json.dumps([subject_id.hex for subject_id in ids])])
            for subject_id, seq, digest in cursor.fetchall():
                key = subject_id if isinstance(subject_id, UUID) else UUID(subject_id)
                found[key] = ChainHead(seq, bytes(digest))
    return found


def append_events(entries: Sequence[NewEvent], heads: dict[UUID, ChainHead], at: datetime) -> dict[UUID, ChainHead]:
    """Insert events and private values in at most two statements and no reads; return the heads that resulted.

    The caller is inside a transaction, holds the subjects (row lock or guarded update) and knows their heads. Raises
    what `build_rows` does, and IntegrityError when a head was stale.
    """
    parts, after = build_rows(entries, heads, at)
    insert_together(parts)
    return after


def build_rows(
    entries: Sequence[NewEvent], heads: dict[UUID, ChainHead], at: datetime
) -> tuple[tuple[Rows, Rows], dict[UUID, ChainHead]]:
    """The rows of events and private values, to be inserted together with others, and the heads that result. Pure.

    Entries of one subject chain in the order given. Raises ValueError for facts that canonical JSON cannot hold.
    """
    after = dict(heads)
    stamp = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    events: list[tuple[Any, ...]] = []
    private: list[tuple[Any, ...]] = []
    for entry in entries:
        subject, head = entry.subject, after.get(entry.subject.id, NO_EVENTS)
        seq = head.seq + 1
        facts = _commit_to(entry, seq, private) if entry.private else entry.facts
        body = canonical(_envelope(entry, seq, stamp, facts, head.hash.hex()))
        after[subject.id] = ChainHead(seq, hashlib.sha256(body).digest())
        events.append(
            (
                entry.tenant,
                subject.kind,
                subject.id,
                seq,
                entry.verb,
                entry.outcome,
                entry.actor,
                entry.correlation_id,
                at,
                body,
                after[subject.id].hash,
            )
        )
    return (Rows(Event, EVENT_COLUMNS, events), Rows(PrivateValue, PRIVATE_COLUMNS, private)), after


def record(entry: NewEvent) -> int:
    """Append one event to any subject, from anywhere; return its seq.

    Takes the subject's next seq from its sequencer (which locks the subject), else from the last event, trying again
    when another event got there first. Raises BrokenChain when sequencer and log disagree.
    """
    subject = entry.subject
    sequencer = _sequencers.get(subject.kind)
    if sequencer is not None:
        with transaction.atomic():
            seq, at = sequencer(subject.id)
            known = read_chain_heads([subject.id])
            if known[subject.id].seq != seq - 1:
                raise BrokenChain(f"{subject.kind} {subject.id} is at {seq - 1}, its log at {known[subject.id].seq}")
            return append_events([entry], known, at)[subject.id].seq
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            with transaction.atomic():
                return append_events([entry], read_chain_heads([subject.id]), database_time())[subject.id].seq
        except IntegrityError:
            if attempt == MAX_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def register_sequencer(kind: str, fn: Sequencer) -> None:
    """Let `fn(subject_id)` lock a subject of this kind, advance its seq and return (new seq, database time)."""
    _sequencers[kind] = fn


def commitment(salt: bytes, value: str) -> str:
    """HMAC-SHA256 of the value under its salt, in hex: says nothing about the value, yet binds to it."""
    return hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()


def _commit_to(entry: NewEvent, seq: int, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    facts = dict(entry.facts)
    for name, value in entry.private.items():
        if name in facts:
            raise ValueError(f"{entry.verb}: {name!r} is both a fact and a private value")
        salt = secrets.token_bytes(32)
        facts[name] = {"commitment": commitment(salt, value)}
        rows.append((entry.tenant, entry.subject.id, seq, name, salt, value.encode()))
    return facts


def _envelope(entry: NewEvent, seq: int, stamp: str, facts: dict[str, Any], prev: str) -> dict[str, Any]:
    return {
        "v": ENVELOPE_VERSION,
        "tenant": str(entry.tenant),
        "subject": {"kind": entry.subject.kind, "id": str(entry.subject.id)},
        "seq": seq,
        "verb": entry.verb,
        "outcome": entry.outcome,
        "actor": entry.actor,
        "correlation_id": entry.correlation_id,
        "at": stamp,
        "facts": facts,
        "artifacts": list(entry.artifacts),
        "prev": prev,
    }
