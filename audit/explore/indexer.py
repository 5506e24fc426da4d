"""
Bring the explorer's index up to the log, behind the back of who records: a task's slice of events at a time.

The index follows event ids, and ids can become visible out of order: on PostgreSQL a transaction may commit id 100
after another committed id 101. So events are taken only up to an id below which nothing can be committed any more, as
the locks on the events' table tell (`settled_upto`). What else runs on the server, in other databases or without
recording anything, holds up nothing.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from audit.clock import database_time
from audit.explore.models import IndexCursor, IndexedEvent, Word
from audit.explore.words import words_of
from audit.models import Event, PrivateValue
from audit.reading import envelope_of
from audit.rows import Rows, insert_together
from audit.seals.unsealed import settled_upto

BATCH = 500
SLICE_S = 2.0
PATIENCE_S = 0.5
"""How long to wait for who is just recording something; then only what the sealer found settled is taken."""
COLUMNS = ("event", "tenant", "at", "subject_kind", "subject_id", "environment", "type", "verb", "outcome", "actor")
WORD_COLUMNS = ("tenant", "word", "at", "subject_id", "seq", "name")
Known = dict[UUID, tuple[UUID | None, str]]


def carry_on(slice_s: float = SLICE_S) -> int:
    """Index what is new, for a slice of time; return how many events. Harmless to call at the same time."""
    until, count = time.monotonic() + slice_s, 0
    while found := step():
        count += found
        if found < BATCH or time.monotonic() > until:
            break
    return count


def step(size: int = BATCH) -> int:
    """Index the next events, `size` at most, in one transaction; return how many. 0 while somebody else is at it."""
    known, _ = IndexCursor.objects.get_or_create(pk=1)
    if not Event.objects.filter(pk__gt=known.upto).exists():
        return 0
    settled = settled_upto(PATIENCE_S)
    with transaction.atomic():
        cursor = IndexCursor.objects.select_for_update(skip_locked=True).filter(pk=1).first()
        events = list(_fresh(cursor.upto, settled)[:size]) if cursor else []
        if not cursor or not events:
            return 0
        moved = IndexCursor.objects.filter(pk=1, upto=cursor.upto)
        if not moved.update(upto=events[-1].pk, moved_at=database_time()):
            return 0
        rows = [Rows(IndexedEvent, COLUMNS, _facts(events), True), Rows(Word, WORD_COLUMNS, _words(events), True)]
        insert_together(rows)
    return len(events)


def upto() -> tuple[int, datetime | None]:
    """The last event that is indexed, and when the index last moved. One query."""
    found = IndexCursor.objects.filter(pk=1).values_list("upto", "moved_at").first()
    return found or (0, None)


def _fresh(after: int, settled: int) -> QuerySet[Event]:
    return Event.objects.filter(pk__gt=after, pk__lte=settled).order_by("pk")


def _facts(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    places = _places(events)
    rows = []
    for event in events:
        own, about = _said(event), places.get(event.subject_id, (None, ""))
        environment, kind = own[0] or about[0], own[1] or about[1]
        rows.append((
            event.pk, event.tenant, event.at, event.subject_kind, event.subject_id, environment, kind, event.verb,
            event.outcome, event.actor,
        ))  # fmt: skip
    return rows


def _places(events: Sequence[Event]) -> Known:
    """Environment and type of these events' subjects: what the first event of each says. One query."""
    firsts = {event.subject_id: event for event in events if event.seq == 1}
    missing = {event.subject_id for event in events} - firsts.keys()
    firsts.update({event.subject_id: event for event in Event.objects.filter(subject_id__in=missing, seq=1)})
    return {pk: _said(event) for pk, event in firsts.items()}


def _said(event: Event) -> tuple[UUID | None, str]:
    facts = envelope_of(event).get("facts")
    facts = facts if isinstance(facts, dict) else {}
    kind = facts.get("type")
    return _uuid(facts.get("environment")), kind[:64] if isinstance(kind, str) else ""


def _words(events: Iterable[Event]) -> list[tuple[Any, ...]]:
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
        rows += [(event.tenant, word.encode(), event.at, subject, seq, name) for word in words_of(text)]
    return rows


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
