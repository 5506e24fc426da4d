"""The search index: tokenize texts, follow the log, page through it."""

import re
import time
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from audit.database.clock import database_time
from audit.database.statements import Rows, insert_together
from audit.log.query import EventFilter, read_envelope
from audit.models import Event, PrivateValue
from audit.models.auditor import IndexCursor, IndexedEvent, Word
from audit.seals.sealer import settled_event_id

BATCH = 500
SLICE_S = 2.0
SETTLE_TIMEOUT_S = 0.5
"""How long to wait for open transactions; then only events that the sealer found complete are taken."""
COLUMNS = ("event", "tenant", "at", "subject_kind", "subject_id", "environment", "type", "verb", "outcome", "actor")
WORD_COLUMNS = ("tenant", "word", "at", "subject_id", "seq", "name")
SubjectFacts = dict[UUID, tuple[UUID | None, str]]


def run_slice(slice_s: float = SLICE_S) -> int:
    """Index what is new, for a slice of time; return how many events. Harmless to call at the same time."""
    until, count = time.monotonic() + slice_s, 0
    while found := index_batch():
        count += found
        if found < BATCH or time.monotonic() > until:
            break
    return count


def index_batch(size: int = BATCH) -> int:
    """Index the next events, `size` at most, in one transaction; return how many. 0 while somebody else is at it."""
    known, _ = IndexCursor.objects.get_or_create(pk=1)
    if not Event.objects.filter(pk__gt=known.upto).exists():
        return 0
    settled = settled_event_id(SETTLE_TIMEOUT_S)
    with transaction.atomic():
        cursor = IndexCursor.objects.select_for_update(skip_locked=True).filter(pk=1).first()
        events = list(_unindexed(cursor.upto, settled)[:size]) if cursor else []
        if not cursor or not events:
            return 0
        moved = IndexCursor.objects.filter(pk=1, upto=cursor.upto)
        if not moved.update(upto=events[-1].pk, moved_at=database_time()):
            return 0
        rows = [
            Rows(IndexedEvent, COLUMNS, _event_rows(events), True),
            Rows(Word, WORD_COLUMNS, _word_rows(events), True),
        ]
        insert_together(rows)
    return len(events)


def indexed_upto() -> tuple[int, datetime | None]:
    """The last event that is indexed, and when the index last moved. One query."""
    found = IndexCursor.objects.filter(pk=1).values_list("upto", "moved_at").first()
    return found or (0, None)


def _unindexed(after: int, settled: int) -> QuerySet[Event]:
    return Event.objects.filter(pk__gt=after, pk__lte=settled).order_by("pk")


def _event_rows(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    places = _subject_facts(events)
    rows = []
    for event in events:
        own, about = _read_facts(event), places.get(event.subject_id, (None, ""))
        environment, kind = own[0] or about[0], own[1] or about[1]
        rows.append(
            (
                event.pk,
                event.tenant,
                event.at,
                event.subject_kind,
                event.subject_id,
                environment,
                kind,
                event.verb,
                event.outcome,
                event.actor,
            )
        )
    return rows


def _subject_facts(events: Sequence[Event]) -> SubjectFacts:
    """Environment and type of these events' subjects: what the first event of each says. One query."""
    firsts = {event.subject_id: event for event in events if event.seq == 1}
    missing = {event.subject_id for event in events} - firsts.keys()
    firsts.update({event.subject_id: event for event in Event.objects.filter(subject_id__in=missing, seq=1)})
    return {pk: _read_facts(event) for pk, event in firsts.items()}


def _read_facts(event: Event) -> tuple[UUID | None, str]:
    facts = read_envelope(event).get("facts")
    facts = facts if isinstance(facts, dict) else {}
    kind = facts.get("type")
    return _parse_uuid(facts.get("environment")), kind[:64] if isinstance(kind, str) else ""


def _word_rows(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """The words of what these events committed to. Locks the values, so that none is erased between here and commit."""
    at = {(event.subject_id, event.seq): event for event in events}
    seqs = [seq for _, seq in at]
    kept = PrivateValue.objects.select_for_update(no_key=True).filter(
        subject_id__in={subject for subject, _ in at}, seq__range=(min(seqs), max(seqs)), value__isnull=False
    )
    rows = []
    for subject, seq, name, value in kept.values_list("subject_id", "seq", "name", "value"):
        event = at.get((subject, seq))
        if event is None:
            continue
        text = bytes(value or b"").decode("utf-8", "replace")
        rows += [(event.tenant, word.encode(), event.at, subject, seq, name) for word in tokenize(text)]
    return rows


def _parse_uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


# Words to search by: what a text is cut into, when it is indexed and when it is asked for.


WORD = re.compile(r"[^\W_]+")
MIN_WORD_CHARS, MAX_WORD_CHARS, MAX_WORDS = 2, 40, 2_000
MAX_QUERY_WORDS = 8
WEIGHTS = {"title": 3.0, "reason": 3.0, "ticket": 3.0, "comment": 2.0, "text": 2.0}
"""What a word counts for by the private value it stands in; elsewhere 1."""


def tokenize(text: str) -> list[str]:
    """The distinct words of a text in order, case folded (NFKC), of 2 to 40 characters, 2,000 at most."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found = dict.fromkeys(piece for piece in WORD.findall(folded) if MIN_WORD_CHARS <= len(piece) <= MAX_WORD_CHARS)
    return list(found)[:MAX_WORDS]


def tokenize_query(text: str) -> list[str]:
    """The words of a search, eight at most."""
    return tokenize(text)[:MAX_QUERY_WORDS]


def mark_hits(text: str, words: list[str], around: int = 160) -> list[tuple[str, bool]]:
    """A passage of the text around its first hit, in pieces: (piece, whether it is a hit). Short texts stay whole."""
    hits = [m for m in WORD.finditer(text) if _is_hit(m[0], words)]
    start = max(0, hits[0].start() - around // 2) if hits and len(text) > around else 0
    end = min(len(text), start + around)
    pieces: list[tuple[str, bool]] = [("…", False)] if start else []
    at = start
    for m in hits:
        if m.end() > end or m.start() < at:
            continue
        pieces += [(text[at : m.start()], False), (m[0], True)]
        at = m.end()
    pieces += [(text[at:end], False), *([("…", False)] if end < len(text) else [])]
    return [(piece, is_hit) for piece, is_hit in pieces if piece]


def _is_hit(piece: str, words: list[str]) -> bool:
    folded = unicodedata.normalize("NFKC", piece).casefold()
    return any(folded.startswith(word) for word in words)


# Pages of the log, newest first, whatever is filtered on: by the index, and past its end straight from the log.


def page_of_events(
    tenant: UUID, event_filter: EventFilter, before: int | None, limit: int
) -> tuple[list[Event], int | None]:
    """The newest `limit` events, older than the event `before`; and the cursor of the page after, if there is one.

    What is not indexed yet is looked at event by event: it is little, and nothing recorded is missing from a page.
    """
    edge, _ = indexed_upto()
    fresh = Event.objects.filter(event_filter.condition(), tenant=tenant, pk__gt=edge)
    known = IndexedEvent.objects.filter(index_condition(tenant, event_filter), tenant=tenant, event__lte=edge)
    if before is not None:
        fresh, known = fresh.filter(pk__lt=before), known.filter(event__lt=before)
    ids = [] if event_filter.needs_index else list(fresh.order_by("-pk").values_list("pk", flat=True)[: limit + 1])
    if len(ids) <= limit:
        ids += list(known.order_by("-event").values_list("event", flat=True)[: limit + 1 - len(ids)])
    events = sorted(Event.objects.filter(pk__in=ids[:limit]), key=lambda event: -event.pk)
    return events, ids[limit - 1] if len(ids) > limit else None


def index_condition(tenant: UUID, event_filter: EventFilter) -> Q:
    """The same condition on the index's columns."""
    since, until = event_filter.window()
    equal = {
        "actor": event_filter.actor,
        "outcome": event_filter.outcome,
        "subject_id": event_filter.subject,
        "type": event_filter.type,
        "environment": event_filter.environment,
        "subject_kind": event_filter.kind,
        "at__gte": since,
        "at__lt": until,
    }
    found = Q(**{name: value for name, value in equal.items() if value})
    if event_filter.verb:
        found &= Q(verb=event_filter.verb) | Q(verb__startswith=f"{event_filter.verb.rstrip('.')}.")
    if event_filter.correlation_id:
        found &= Q(
            event__in=Event.objects.filter(tenant=tenant, correlation_id=event_filter.correlation_id).values("pk")
        )
    return found
