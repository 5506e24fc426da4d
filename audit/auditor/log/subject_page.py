"""One subject: its timeline, its relations, its page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

from audit.auditor.log.event_list import EventRow, LogFilters, event_rows
from audit.changes.masking import visible
from audit.log.events import Subject
from audit.log.subjects import actor_names, agent_owners, describe_subjects, find_subject
from audit.models import Event
from audit.ui import charts
from audit.web import auditors_only

LANE, TOP = 30, 8
MAX_LANES = 12
LEFT, RIGHT = 1.5, 98.5
LONG_WAIT_S = 60.0
"""A wait that is worth a word."""


@dataclass(frozen=True)
class TimelineEvent:
    """An event with the time since the one before it."""

    row: EventRow
    gap: timedelta | None
    x: float
    lane: int

    @property
    def is_long(self) -> bool:
        return self.gap is not None and self.gap.total_seconds() >= LONG_WAIT_S


def place_events(rows: Sequence[EventRow]) -> tuple[list[TimelineEvent], list[str]]:
    """The rows, oldest first, placed: far apart after long waits (by logarithm), a lane each for those who acted."""
    lanes = list(dict.fromkeys(row.who for row in rows))[:MAX_LANES]
    gaps = [None, *(b.event.at - a.event.at for a, b in zip(rows, rows[1:], strict=False))]
    steps = [0.0 if gap is None else 1 + math.log1p(max(gap.total_seconds(), 0.0)) for gap in gaps]
    whole, at, placed = sum(steps) or 1.0, 0.0, []
    for row, gap, step in zip(rows, gaps, steps, strict=True):
        at += step
        lane = lanes.index(row.who) if row.who in lanes else MAX_LANES - 1
        placed.append(TimelineEvent(row, gap, LEFT + (RIGHT - LEFT) * at / whole, lane))
    return placed, lanes


def draw_timeline(placed: Sequence[TimelineEvent], lanes: Sequence[str]) -> SafeString:
    """The picture: lanes of dots, joined in the order of time."""
    height = TOP + LANE * max(len(lanes), 1)
    out = [charts.hline("tl-lane", _y(n)) for n in range(len(lanes))]
    for a, b in zip(placed, placed[1:], strict=False):
        long = " tl-wait" if b.is_long else ""
        out.append(
            f'<line class="tl-join{long}" x1="{charts.n(a.x)}%" x2="{charts.n(b.x)}%" '
            f'y1="{_y(a.lane)}" y2="{_y(b.lane)}"/>'
        )
    for it in placed:
        row = it.row
        words = escape(visible(f"#{row.event.seq} {row.event.verb}, {row.who}, {row.event.at:%Y-%m-%d %H:%M:%S} UTC"))
        look = f" tl-{row.look}" if row.look else ""
        out.append(
            f'<circle class="tl-dot{look}" cx="{charts.n(it.x)}%" cy="{_y(it.lane)}" r="5">'
            f"<title>{words}</title></circle>"
        )
    label = f"{len(placed)} events in order of time; the table below lists them"
    return mark_safe(charts.svg("tl__svg", height, out, label))


def _y(lane: int) -> int:
    return TOP + lane * LANE + LANE // 2 - 4


# Who had to do with a subject: who asked, who answers for them, who decided, who stepped in, and what followed.


DECISIONS = {
    "approval.granted": "approved it",
    "approval.rejected": "rejected it",
    "approval.accepted": "accepted their own diff",
    "approval.refused": "tried to decide; refused",
    "approval.changes_requested": "requested changes",
    "approval.withdrawn": "withdrew the approval",
}
EARLIER = {"retry_of": "a retry of", "undo_of": "undoes", "fallback_of": "a fallback for", "follows": "follows"}
MAX_RELATIONS = 40
Linker = Callable[[UUID, UUID], "list[tuple[str, Subject]]"]
_linkers: dict[str, Linker] = {}


@dataclass(frozen=True)
class Relation:
    """`who` did or is `word`; `kind` is a person, an agent, the system or a change; `side` is where it is drawn."""

    who: str
    word: str
    kind: str
    side: int
    at: datetime | None = None
    seq: int = 0
    url: str = ""
    role: str = ""


def register_links(kind: str, fn: Linker) -> None:
    """Let `fn(tenant, id)` give what followed from a subject of this kind: [(word, subject)], bounded, one query."""
    _linkers[kind] = fn


def relations(tenant: UUID, subject: Subject, rows: Sequence[EventRow]) -> list[Relation]:
    """All of a subject's relations, in order of time where they have one. Rows oldest first; three queries."""
    if not rows:
        return []
    asked = rows[0]
    answering = _agent_owner(tenant, asked)
    kind = "agent" if answering else _kind(asked)
    found = [*answering, Relation(asked.who, _first_label(asked), kind, 1, asked.event.at, 1)]
    seen: set[tuple[str, str]] = set()
    for row in rows[1:]:
        word = DECISIONS.get(row.event.verb) or ("" if row.is_system else f"{row.event.verb}")
        if row.is_system and row.event.verb in ("action.start", "action.roll_back"):
            word = {"action.start": "executed it", "action.roll_back": "undid it"}[row.event.verb]
        if word and (row.event.actor, word) not in seen:
            seen.add((row.event.actor, word))
            role = row.envelope.get("facts", {}).get("role", "")
            at, seq = row.event.at, row.event.seq
            found.append(Relation(row.who, word, _kind(row), 3, at, seq, "", str(role)))
    found += _earlier_subjects(tenant, asked) + [
        Relation(_title(later), word, "change", 3, url=f"/audit/subjects/{later.id}/")
        for word, later in (_linkers[subject.kind](tenant, subject.id) if subject.kind in _linkers else [])
    ]
    return found[:MAX_RELATIONS]


def draw_relations(subject: Subject, found: Sequence[Relation]) -> SafeString:
    """The picture: the requester on the left, the subject in the middle, who decided and what followed on the right."""
    columns: dict[int, int] = {}
    left = min((it.side for it in found), default=2)
    nodes: list[dict[str, Any]] = [_node("it", 2 - left, 0, _title(subject), subject.kind, "subject", _title(subject))]
    edges: list[tuple[str, str]] = []
    for n, it in enumerate(found):
        row = columns.get(it.side, 0)
        columns[it.side] = row + 1
        words = f"{it.word} as {it.role}" if it.role else it.word
        nodes.append(_node(f"n{n}", it.side - left, row, it.who, words, it.kind, f"{it.who}: {words}"))
        edges.append((f"n{n}", "it") if it.side == 1 else ("it", f"n{n}") if it.side == 3 else (f"n{n}", "n-asked"))
    first = next((f"n{n}" for n, it in enumerate(found) if it.side == 1), "it")
    return charts.dag(nodes, [(a, first if b == "n-asked" else b) for a, b in edges], _mark)


def _node(pk: str, col: int, row: int, name: str, sub: str, kind: str, title: str) -> dict[str, Any]:
    return {
        "id": pk,
        "col": col,
        "row": row,
        "name": _truncate(name, 13),
        "sub": _truncate(sub, 17),
        "state": kind,
        "title": visible(title),
    }


def _truncate(text: str, most: int) -> str:
    text = visible(text)
    return text if len(text) <= most else text[: most - 1] + "…"


MARKS = {
    "person": '<circle class="rl-m" cx="8" cy="5.5" r="2.5"/><path class="rl-m" d="M3.5 13c.5-3 8.5-3 9 0"/>',
    "agent": '<rect class="rl-m" x="3" y="4.5" width="10" height="8" rx="2"/><path class="rl-m" d="M8 2v2.5"/>',
    "system": '<rect class="rl-m" x="4" y="4" width="8" height="8" rx="1"/>',
    "change": '<path class="rl-m" d="M8 2.5 13 5.5v5L8 13.5 3 10.5v-5Z"/>',
    "subject": '<path class="rl-m" d="M8 2.5 13 5.5v5L8 13.5 3 10.5v-5Z"/>',
}


def _mark(kind: str) -> str:
    return MARKS.get(kind, "")


def _agent_owner(tenant: UUID, asked: EventRow) -> list[Relation]:
    """The owner of the agent, if an agent is the requester."""
    owners = agent_owners(tenant, {asked.event.actor})
    names = actor_names(tenant, owners.values())
    return [Relation(names[owner], "owner of the agent", "person", 0) for owner in owners.values()]


def _earlier_subjects(tenant: UUID, asked: EventRow) -> list[Relation]:
    """The earlier subjects that this follows from, named in its first event."""
    facts = asked.envelope.get("facts", {})
    ids = {word: _parse_uuid(facts.get(name)) for name, word in EARLIER.items() if facts.get(name)}
    events = [type(asked.event)(subject_kind=asked.event.subject_kind, subject_id=pk) for pk in ids.values() if pk]
    known = describe_subjects(tenant, events)
    return [
        Relation(_title(known[pk]), word, "change", 1, url=f"/audit/subjects/{pk}/") for word, pk in ids.items() if pk
    ]


def _kind(row: EventRow) -> str:
    return "system" if row.is_system else "person"


def _first_label(row: EventRow) -> str:
    return "requested it" if row.event.verb == "action.submitted" else row.event.verb


def _title(subject: Subject) -> str:
    return visible(subject.title) if subject.title else f"{subject.kind} {str(subject.id)[-8:]}"


def _parse_uuid(value: Any) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None


# One subject from its first event to its last, one event with what it changed and its proof, and saved searches.


MAX_EVENTS = 500


@require_safe
@auditors_only
def subject_page(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    """Timeline and relations of one subject."""
    return render(request, "audit/subject.html", subject_context(tenant, subject_id))


def subject_context(tenant: UUID, subject_id: UUID) -> dict[str, Any]:
    """The first 500 events, oldest first, with what is drawn of them."""
    about = find_subject(tenant, subject_id)
    events = list(Event.objects.filter(tenant=tenant, subject_id=about.id).order_by("seq")[: MAX_EVENTS + 1])
    rows: list[EventRow] = event_rows(tenant, events[:MAX_EVENTS], LogFilters(subject=str(about.id)))
    placed, lanes = place_events(rows)
    found = relations(tenant, about, rows)
    return {
        "here": "audit",
        "on": "log",
        "subject": about,
        "report": None,
        "events": placed,
        "lanes": lanes,
        "timeline": draw_timeline(placed, lanes),
        "relations": found,
        "graph": draw_relations(about, found),
        "is_whole": len(events) <= MAX_EVENTS,
        "most": MAX_EVENTS,
    }
