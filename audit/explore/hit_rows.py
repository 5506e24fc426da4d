"""Hits as the explorer shows them: what was found, where the words stand, who asked for it, and how it stands now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Max

from audit.changes.visible import visible
from audit.events import Subject
from audit.explore.models import IndexedEvent
from audit.explore.search import Found, Hit
from audit.explore.words import marked
from audit.models import Event, PrivateValue
from audit.subjects import describe, names_of_actors, names_of_places

PAGE = 20


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


def hit_rows(tenant: UUID, found: Found, page: int) -> list[HitRow]:
    """One page of hits, counted from 1. A fixed number of queries."""
    hits = found.hits[(page - 1) * PAGE : page * PAGE]
    if not hits:
        return []
    ids = [hit.subject_id for hit in hits]
    subjects = describe(tenant, [Event(subject_kind=hit.kind, subject_id=hit.subject_id) for hit in hits])
    firsts = {e.subject_id: e for e in Event.objects.filter(subject_id__in=ids, seq=1).defer("body")}
    names = names_of_actors(tenant, {event.actor for event in firsts.values()})
    places, lasts, texts = names_of_places(tenant), _lasts(ids), _texts(hits)
    return [
        HitRow(
            hit=hit,
            subject=subjects[hit.subject_id],
            who=names[firsts[hit.subject_id].actor] if hit.subject_id in firsts else "",
            began_at=firsts[hit.subject_id].at if hit.subject_id in firsts else None,
            place=places.get(hit.environment, "") if hit.environment else "",
            last=lasts.get(hit.subject_id, {}),
            title=marked(_title(subjects[hit.subject_id]), found.words, 200),
            passages=_passages(texts.get(hit.subject_id, []), found.words),
        )
        for hit in hits
    ]


def _title(subject: Subject) -> str:
    return visible(subject.title) if subject.title else f"{subject.kind} {str(subject.id)[-8:]}"


def _lasts(ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
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
    found = [{"name": name, "pieces": marked(visible(text), words)} for name, text in texts if text]
    with_hits = [it for it in found if any(is_hit for _, is_hit in it["pieces"])]
    return with_hits[:3] or [it for it in found if it["name"] == "reason"]
