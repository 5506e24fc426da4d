"""Who had to do with a subject: who asked, who answers for them, who decided, who stepped in, and what followed.

It is read off the subject's events; owners of agents and later changes come from the floors above.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from audit import charts
from audit.changes.visible import visible
from audit.events import Subject
from audit.log_rows import Row
from audit.subjects import describe, names_of_actors, owners_of

DECISIONS = {
    "approval.granted": "approved it", "approval.rejected": "rejected it", "approval.accepted": "accepted its diff",
    "approval.refused": "tried to decide, refused", "approval.changes_requested": "asked for changes",
    "approval.withdrawn": "took the approval back",
}  # fmt: skip
EARLIER = {"retry_of": "a retry of", "undo_of": "undoes", "fallback_of": "a fallback for", "follows": "follows"}
MOST = 40
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


def relations(tenant: UUID, subject: Subject, rows: Sequence[Row]) -> list[Relation]:
    """All of a subject's relations, in order of time where they have one. Rows oldest first; three queries."""
    if not rows:
        return []
    asked = rows[0]
    answering = _answering(tenant, asked)
    kind = "agent" if answering else _kind(asked)
    found = [*answering, Relation(asked.who, _first_word(asked), kind, 1, asked.event.at, 1)]
    seen: set[tuple[str, str]] = set()
    for row in rows[1:]:
        word = DECISIONS.get(row.event.verb) or ("" if row.is_system else f"{row.event.verb}")
        if row.is_system and row.event.verb in ("action.start", "action.roll_back"):
            word = {"action.start": "carried it out", "action.roll_back": "undid it"}[row.event.verb]
        if word and (row.event.actor, word) not in seen:
            seen.add((row.event.actor, word))
            role = row.envelope.get("facts", {}).get("role", "")
            at, seq = row.event.at, row.event.seq
            found.append(Relation(row.who, word, _kind(row), 3, at, seq, "", str(role)))
    found += _earlier(tenant, asked) + [
        Relation(_title(later), word, "change", 3, url=f"/audit/subjects/{later.id}/")
        for word, later in (_linkers[subject.kind](tenant, subject.id) if subject.kind in _linkers else [])
    ]
    return found[:MOST]


def drawn(subject: Subject, found: Sequence[Relation]) -> SafeString:
    """The picture: who asked on the left, the subject in the middle, who decided and what followed on the right."""
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
    return {"id": pk, "col": col, "row": row, "name": _cut(name, 13), "sub": _cut(sub, 17), "state": kind,
            "title": visible(title)}  # fmt: skip


def _cut(text: str, most: int) -> str:
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


def _answering(tenant: UUID, asked: Row) -> list[Relation]:
    """The person an agent answers to, if an agent asked."""
    owners = owners_of(tenant, {asked.event.actor})
    names = names_of_actors(tenant, owners.values())
    return [Relation(names[owner], "answers for the agent", "person", 0) for owner in owners.values()]


def _earlier(tenant: UUID, asked: Row) -> list[Relation]:
    """What this follows from, as its first event says."""
    facts = asked.envelope.get("facts", {})
    ids = {word: _uuid(facts.get(name)) for name, word in EARLIER.items() if facts.get(name)}
    events = [type(asked.event)(subject_kind=asked.event.subject_kind, subject_id=pk) for pk in ids.values() if pk]
    known = describe(tenant, events)
    return [
        Relation(_title(known[pk]), word, "change", 1, url=f"/audit/subjects/{pk}/") for word, pk in ids.items() if pk
    ]


def _kind(row: Row) -> str:
    return "system" if row.is_system else "person"


def _first_word(row: Row) -> str:
    return "asked for it" if row.event.verb == "action.submitted" else row.event.verb


def _title(subject: Subject) -> str:
    return visible(subject.title) if subject.title else f"{subject.kind} {str(subject.id)[-8:]}"


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None
