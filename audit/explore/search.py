"""
Find changes by words: every word of the search against the words of private values that were not erased.

Hits are grouped by subject, because a person looks for a change, not for one of its events. A subject ranks by how many
of the words it has, then by score: rare words and whole words count more, titles and reasons more than remarks, the
days around a given date more than its window's edge, changes more than everything else.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from audit.explore.listing import indexed
from audit.explore.models import IndexedEvent, Word
from audit.explore.words import WEIGHTS, asked_words
from audit.reading import Asked

MOST = 5_000
"""Places of one word that are looked at, the newest first; common words: among the subjects of the rare ones."""
MOST_HITS = 500
AT_ONCE = 1_000
BEGINNING, ELSEWHERE = 0.6, 0.6
"""What a word that only begins with the one asked for counts, and a subject that is no change."""


@dataclass
class Hit:
    """A subject that matched: where best (seq, name of the value, its time), and what else the index knows of it."""

    subject_id: UUID
    seq: int
    name: str
    at: datetime
    words: dict[str, float] = field(default_factory=dict)
    kind: str = ""
    environment: UUID | None = None
    type: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class Found:
    """Hits, the best first; `is_whole` is false where more may match than was looked at."""

    hits: list[Hit]
    is_whole: bool
    words: list[str]


def search(tenant: UUID, asked: Asked) -> Found:
    """The subjects that match, ranked. A fixed number of queries per word, each over an index and bounded."""
    words = asked_words(asked.words)
    window = _window(asked)
    hits: dict[UUID, Hit] = {}
    is_whole = True
    for n, (word, places) in enumerate(_rarest_first(tenant, words, window)):
        among = list(hits) if n and len(places) > MOST else None
        if among is not None:
            places = _places(tenant, word, window & Q(subject_id__in=among))
        is_whole &= len(places) <= MOST
        _count(hits, word, places[:MOST])
    kept, is_all = _filtered(tenant, asked, _ranked(hits.values(), asked))
    return Found(_ranked(kept, asked)[:MOST_HITS], is_whole and is_all, words)


def _window(asked: Asked) -> Q:
    since, until = asked.window()
    bounds = {"at__gte": since, "at__lt": until, "subject_id": asked.subject}
    return Q(**{name: value for name, value in bounds.items() if value})


Place = tuple[UUID, int, str, bytes, datetime]


def _rarest_first(tenant: UUID, words: Sequence[str], window: Q) -> list[tuple[str, list[Place]]]:
    return sorted(((word, _places(tenant, word, window)) for word in words), key=lambda found: len(found[1]))


def _places(tenant: UUID, word: str, window: Q) -> list[Place]:
    """Where the word stands, then where words stand that begin with it: 5,001 of each at most."""
    here, whole = Word.objects.filter(window, tenant=tenant), word.encode()
    exact = _read(here.filter(word=whole).order_by("-at"))
    longer = here.filter(word__gt=whole, word__lt=whole + b"\xff").order_by("word", "-at")
    return exact if len(exact) > MOST else exact + _read(longer)


def _read(found: QuerySet[Word]) -> list[Place]:
    rows = found.values_list("subject_id", "seq", "name", "word", "at")[: MOST + 1]
    return [(subject, seq, name, bytes(word), at) for subject, seq, name, word, at in rows]


def _count(hits: dict[UUID, Hit], word: str, places: Iterable[Place]) -> None:
    """Give each subject the best of the word's places in it."""
    places = list(places)
    rarity = math.log(1 + MOST / max(1, len({place[0] for place in places})))
    for subject, seq, name, stands, at in places:
        worth = WEIGHTS.get(name, 1.0) * rarity * (1.0 if stands == word.encode() else BEGINNING)
        hit = hits.get(subject)
        if hit is None:
            hit = hits[subject] = Hit(subject, seq, name, at)
        if worth > max(hit.words.values(), default=0.0):
            hit.seq, hit.name, hit.at = seq, name, at
        hit.words[word] = max(worth, hit.words.get(word, 0.0))


def _filtered(tenant: UUID, asked: Asked, ranked: Sequence[Hit]) -> tuple[list[Hit], bool]:
    """The hits with an event that the other filters let through, told what the index knows of them; whether all.

    A thousand at a time, the best first, until there are enough.
    """
    kept: dict[UUID, Hit] = {}
    for start in range(0, len(ranked), AT_ONCE):
        if len(kept) >= MOST_HITS:
            return list(kept.values()), False
        known = {hit.subject_id: hit for hit in ranked[start : start + AT_ONCE]}
        rows = IndexedEvent.objects.filter(indexed(tenant, asked), tenant=tenant, subject_id__in=list(known))
        told = rows.values_list("subject_id", "subject_kind", "environment", "type").distinct()
        for subject, kind, environment, kind_of_change in told:
            hit = kept[subject] = known[subject]
            hit.kind, hit.environment = kind, hit.environment or environment
            hit.type = hit.type or kind_of_change
    return list(kept.values()), len(kept) <= MOST_HITS


def _ranked(hits: Iterable[Hit], asked: Asked) -> list[Hit]:
    """The best first: by how many words, then by score. A kind that is not known yet counts as a change."""
    found = list(hits)
    for hit in found:
        near = 1.0
        if asked.around is not None:
            away = _days_away(hit.at, datetime(asked.around.year, asked.around.month, asked.around.day, tzinfo=UTC))
            near = 0.5 + 0.5 * max(0.0, 1 - away / (asked.days + 1))
        hit.score = sum(hit.words.values()) * near * (1.0 if hit.kind in ("", "action") else ELSEWHERE)
    return sorted(found, key=lambda hit: (-len(hit.words), -hit.score, -hit.at.timestamp(), str(hit.subject_id)))


def _days_away(at: datetime, day: datetime) -> float:
    """How far a moment is from a day, in days; 0 within it."""
    after = at - (day + timedelta(days=1))
    return max((day - at) / timedelta(days=1), after / timedelta(days=1), 0.0)
