"""Find changes by words; count what matches; show where the words stand."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Max, Q, QuerySet

from audit.auditor.explore.index import WEIGHTS, index_condition, mark_hits, tokenize_query
from audit.changes.masking import visible
from audit.log.events import Subject
from audit.log.query import EventFilter
from audit.log.subjects import actor_names, describe_subjects, environment_names
from audit.models import Event, PrivateValue
from audit.models.auditor import IndexedEvent, Word

MAX_PLACES = 5_000
"""Places of one word that are looked at, the newest first; common words: among the subjects of the rare ones."""
MAX_HITS = 500
BATCH = 1_000
PREFIX_WEIGHT, OTHER_KIND_WEIGHT = 0.6, 0.6
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
class SearchResult:
    """Hits, the best first; `is_whole` is false where more may match than was looked at."""

    hits: list[Hit]
    is_whole: bool
    words: list[str]


def search(tenant: UUID, event_filter: EventFilter) -> SearchResult:
    """The subjects that match, ranked. A fixed number of queries per word, each over an index and bounded."""
    words = tokenize_query(event_filter.words)
    window = _window(event_filter)
    hits: dict[UUID, Hit] = {}
    is_whole = True
    for n, (word, places) in enumerate(_rarest_first(tenant, words, window)):
        among = list(hits) if n and len(places) > MAX_PLACES else None
        if among is not None:
            places = _word_places(tenant, word, window & Q(subject_id__in=among))
        is_whole &= len(places) <= MAX_PLACES
        _score(hits, word, places[:MAX_PLACES])
    kept, is_all = _filter(tenant, event_filter, _rank(hits.values(), event_filter))
    return SearchResult(_rank(kept, event_filter)[:MAX_HITS], is_whole and is_all, words)


def _window(event_filter: EventFilter) -> Q:
    since, until = event_filter.window()
    bounds = {"at__gte": since, "at__lt": until, "subject_id": event_filter.subject}
    return Q(**{name: value for name, value in bounds.items() if value})


WordPlace = tuple[UUID, int, str, bytes, datetime]


def _rarest_first(tenant: UUID, words: Sequence[str], window: Q) -> list[tuple[str, list[WordPlace]]]:
    return sorted(((word, _word_places(tenant, word, window)) for word in words), key=lambda found: len(found[1]))


def _word_places(tenant: UUID, word: str, window: Q) -> list[WordPlace]:
    """Where the word stands, then where words stand that begin with it: 5,001 of each at most."""
    here, whole = Word.objects.filter(window, tenant=tenant), word.encode()
    exact = _read(here.filter(word=whole).order_by("-at"))
    longer = here.filter(word__gt=whole, word__lt=whole + b"\xff").order_by("word", "-at")
    return exact if len(exact) > MAX_PLACES else exact + _read(longer)


def _read(found: QuerySet[Word]) -> list[WordPlace]:
    rows = found.values_list("subject_id", "seq", "name", "word", "at")[: MAX_PLACES + 1]
    return [(subject, seq, name, bytes(word), at) for subject, seq, name, word, at in rows]


def _score(hits: dict[UUID, Hit], word: str, places: Iterable[WordPlace]) -> None:
    """Give each subject the best of the word's places in it."""
    places = list(places)
    rarity = math.log(1 + MAX_PLACES / max(1, len({place[0] for place in places})))
    for subject, seq, name, stands, at in places:
        worth = WEIGHTS.get(name, 1.0) * rarity * (1.0 if stands == word.encode() else PREFIX_WEIGHT)
        hit = hits.get(subject)
        if hit is None:
            hit = hits[subject] = Hit(subject, seq, name, at)
        if worth > max(hit.words.values(), default=0.0):
            hit.seq, hit.name, hit.at = seq, name, at
        hit.words[word] = max(worth, hit.words.get(word, 0.0))


def _filter(tenant: UUID, event_filter: EventFilter, ranked: Sequence[Hit]) -> tuple[list[Hit], bool]:
    """The hits with an event that the other filters let through, told what the index knows of them; whether all.

    A thousand at a time, the best first, until there are enough.
    """
    kept: dict[UUID, Hit] = {}
    for start in range(0, len(ranked), BATCH):
        if len(kept) >= MAX_HITS:
            return list(kept.values()), False
        known = {hit.subject_id: hit for hit in ranked[start : start + BATCH]}
        rows = IndexedEvent.objects.filter(
            index_condition(tenant, event_filter), tenant=tenant, subject_id__in=list(known)
        )
        told = rows.values_list("subject_id", "subject_kind", "environment", "type").distinct()
        for subject, kind, environment, kind_of_change in told:
            hit = kept[subject] = known[subject]
            hit.kind, hit.environment = kind, hit.environment or environment
            hit.type = hit.type or kind_of_change
    return list(kept.values()), len(kept) <= MAX_HITS


def _rank(hits: Iterable[Hit], event_filter: EventFilter) -> list[Hit]:
    """The best first: by how many words, then by score. A kind that is not known yet counts as a change."""
    found = list(hits)
    for hit in found:
        near = 1.0
        if event_filter.around is not None:
            away = _days_away(
                hit.at,
                datetime(event_filter.around.year, event_filter.around.month, event_filter.around.day, tzinfo=UTC),
            )
            near = 0.5 + 0.5 * max(0.0, 1 - away / (event_filter.days + 1))
        hit.score = sum(hit.words.values()) * near * (1.0 if hit.kind in ("", "action") else OTHER_KIND_WEIGHT)
    return sorted(found, key=lambda hit: (-len(hit.words), -hit.score, -hit.at.timestamp(), str(hit.subject_id)))


def _days_away(at: datetime, day: datetime) -> float:
    """How far a moment is from a day, in days; 0 within it."""
    after = at - (day + timedelta(days=1))
    return max((day - at) / timedelta(days=1), after / timedelta(days=1), 0.0)


# How much there is behind each filter: counted among the newest events that match, never further.


MAX_COUNTED = 10_000
MAX_SHOWN = 12
FACETS = {
    "environment": "environment",
    "type": "type",
    "kind": "subject_kind",
    "verb": "verb",
    "outcome": "outcome",
    "actor": "actor",
}
"""Filter by the explorer's name → column."""


@dataclass(frozen=True)
class FacetValue:
    value: str
    label: str
    count: int


@dataclass(frozen=True)
class Facets:
    """`total` events (or changes, of a search), at most `MAX_COUNTED`; with `is_capped`, there are more."""

    total: int
    is_capped: bool
    values: dict[str, list[FacetValue]]

    @property
    def words(self) -> str:
        return f"{MAX_COUNTED:,}+" if self.is_capped else f"{self.total:,}"


def count_facets(tenant: UUID, event_filter: EventFilter) -> Facets:
    """Count the events that match, by each facet. One query over at most 10,001 of them, and one for names each."""
    columns = list(dict.fromkeys(FACETS.values()))
    newest = IndexedEvent.objects.filter(index_condition(tenant, event_filter), tenant=tenant).order_by("-event")
    inner, parameters = newest.values(*columns)[: MAX_COUNTED + 1].query.sql_with_params()
    parts = " UNION ALL ".join(
        f"SELECT '{name}', CAST({column} AS varchar), COUNT(*) FROM newest GROUP BY {column}"
        for name, column in FACETS.items()
    )
    materialized = " MATERIALIZED" if connection.vendor == "postgresql" else ""
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(f"WITH newest AS{materialized} ({inner}) {parts}", parameters)
        for name, value, count in cursor.fetchall():
            counted[name][value or ""] = count
    total = sum(counted["verb"].values())
    return Facets(min(total, MAX_COUNTED), total > MAX_COUNTED, _label_values(tenant, counted))


def count_hit_facets(tenant: UUID, hits: Iterable[Hit], is_whole: bool) -> Facets:
    """Count the hits of a search by where they are and what they are."""
    counted: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    total = 0
    for hit in hits:
        total += 1
        for name, value in (("environment", hit.environment), ("type", hit.type), ("kind", hit.kind)):
            counted[name][str(value or "")] += 1
    return Facets(total, not is_whole, _label_values(tenant, counted))


def _label_values(tenant: UUID, counted: dict[str, Any]) -> dict[str, list[FacetValue]]:
    """The commonest values of each facet, with names for ids."""
    shown = {
        name: sorted(((v, n) for v, n in counts.items() if v), key=lambda it: (-it[1], it[0]))[:MAX_SHOWN]
        for name, counts in counted.items()
    }
    names = actor_names(tenant, {value for value, _ in shown.get("actor", [])})
    places = {str(pk): name for pk, name in environment_names(tenant).items()} if "environment" in shown else {}
    known = {"actor": names, "environment": places}
    return {
        name: [
            FacetValue(_plain_value(name, v), known.get(name, {}).get(_plain_value(name, v), _plain_value(name, v)), n)
            for v, n in found
        ]
        for name, found in shown.items()
    }


def _plain_value(name: str, value: str) -> str:
    """SQLite keeps ids without their dashes."""
    return str(UUID(value)) if name == "environment" else value


# Hits as the explorer shows them: what was found, where the words stand, who asked for it, and how it stands now.


HITS_PER_PAGE = 20


@dataclass(frozen=True)
class HitRow:
    hit: Hit
    subject: Subject
    who: str
    began_at: datetime | None
    place: str
    last: dict[str, Any]
    title: list[tuple[str, bool]]
    passages: list[dict[str, Any]]
    """Texts with the words in them: {"name", "pieces": [(text, whether it is a hit)]}."""


def hit_rows(tenant: UUID, found: SearchResult, page: int) -> list[HitRow]:
    """One page of hits, counted from 1. A fixed number of queries."""
    hits = found.hits[(page - 1) * HITS_PER_PAGE : page * HITS_PER_PAGE]
    if not hits:
        return []
    ids = [hit.subject_id for hit in hits]
    subjects = describe_subjects(tenant, [Event(subject_kind=hit.kind, subject_id=hit.subject_id) for hit in hits])
    firsts = {e.subject_id: e for e in Event.objects.filter(subject_id__in=ids, seq=1).defer("body")}
    names = actor_names(tenant, {event.actor for event in firsts.values()})
    places, lasts, texts = environment_names(tenant), _newest_events(ids), _texts(hits)
    return [
        HitRow(
            hit=hit,
            subject=subjects[hit.subject_id],
            who=names[firsts[hit.subject_id].actor] if hit.subject_id in firsts else "",
            began_at=firsts[hit.subject_id].at if hit.subject_id in firsts else None,
            place=places.get(hit.environment, "") if hit.environment else "",
            last=lasts.get(hit.subject_id, {}),
            title=mark_hits(_title(subjects[hit.subject_id]), found.words, 200),
            passages=_passages(texts.get(hit.subject_id, []), found.words),
        )
        for hit in hits
    ]


def _title(subject: Subject) -> str:
    return visible(subject.title) if subject.title else f"{subject.kind} {str(subject.id)[-8:]}"


def _newest_events(ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """The newest event of each subject."""
    newest = IndexedEvent.objects.filter(subject_id__in=ids).values("subject_id").annotate(last=Max("event"))
    rows = IndexedEvent.objects.filter(event__in=[row["last"] for row in newest])
    return {row["subject_id"]: dict(row) for row in rows.values("subject_id", "verb", "outcome", "at")}


def _texts(hits: Iterable[Hit]) -> dict[UUID, list[tuple[str, str]]]:
    """The private values of the events in which the words were found best; the title has its own place."""
    at = {(hit.subject_id, hit.seq) for hit in hits}
    seqs = [seq for _, seq in at]
    kept = PrivateValue.objects.filter(
        subject_id__in={subject for subject, _ in at}, seq__range=(min(seqs), max(seqs)), value__isnull=False
    ).exclude(name="title")
    found: dict[UUID, list[tuple[str, str]]] = {}
    for subject, seq, name, value in kept.order_by("name").values_list("subject_id", "seq", "name", "value"):
        if (subject, seq) in at:
            found.setdefault(subject, []).append((name, bytes(value or b"").decode("utf-8", "replace")))
    return found


def _passages(texts: Iterable[tuple[str, str]], words: list[str]) -> list[dict[str, Any]]:
    """The texts that have a hit, or the reason where none has."""
    found = [{"name": name, "pieces": mark_hits(visible(text), words)} for name, text in texts if text]
    with_hits = [it for it in found if any(is_hit for _, is_hit in it["pieces"])]
    return with_hits[:3] or [it for it in found if it["name"] == "reason"]
