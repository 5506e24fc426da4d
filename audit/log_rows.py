"""Events as the log shows them: who, what, about what, in one line; and one of them opened."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.changes.visible import visible
from audit.events import Subject
from audit.log_filters import Filters
from audit.models import Event
from audit.reading import envelope_of, private_values
from audit.seals.models import Leaf
from audit.subjects import describe, names_of
from audit.verify import commitments_of

SUMMARY_CHARS = 160
VALUE_CHARS = 2_000
LOOKS = {"ok": "", "refused": "warn", "denied": "warn", "failed": "bad", "error": "bad"}
GOOD = ("granted", "approve", "accepted", "complete", "done", "created", "issued")
BAD = ("rejected", "deny", "fail", "failed", "lost", "reject", "expire")


@dataclass(frozen=True)
class Row:
    event: Event
    envelope: dict[str, Any]
    subject: Subject
    who: str
    is_open: bool
    address: str
    """Where this row is opened, or closed if it is open."""

    @property
    def is_system(self) -> bool:
        return self.event.actor.startswith("system:")

    @property
    def look(self) -> str:
        """The colour of the event's dot."""
        last = self.event.verb.rpartition(".")[2]
        return LOOKS.get(self.event.outcome, "bad") or ("ok" if last in GOOD else "bad" if last in BAD else "")

    @property
    def hash(self) -> str:
        return bytes(self.event.hash).hex()

    @property
    def summary(self) -> str:
        """The plain facts in a line; what is private or long stays inside."""
        facts = _facts(self.envelope)
        hidden = commitments_of({"facts": facts})
        parts = [f"{name}: {_value(fact)}" for name, fact in facts.items() if name not in hidden]
        text = ", ".join(part for part in parts if len(part) <= SUMMARY_CHARS)
        return text if len(text) <= SUMMARY_CHARS else text[:SUMMARY_CHARS] + "…"


@dataclass(frozen=True)
class Opened:
    """An event with all its facts and its neighbours in the chain."""

    row: Row
    facts: list[dict[str, Any]]
    artifacts: list[str]
    previous: Event | None
    following: Event | None
    log_index: int | None = None
    """Its place in the tenant's sealed log."""


def rows_of(tenant: UUID, events: Sequence[Event], filters: Filters) -> list[Row]:
    """The rows of a page; a fixed number of queries."""
    subjects, names = describe(tenant, events), names_of(tenant, events)
    return [
        Row(
            event,
            envelope_of(event),
            subjects[event.subject_id],
            names[event.actor],
            event.pk == filters.open,
            filters.address(open=None if event.pk == filters.open else event.pk),
        )
        for event in events
    ]


def opened(tenant: UUID, row: Row) -> Opened:
    """One row's details. Three queries."""
    event = row.event
    private = private_values([event]).get((event.subject_id, event.seq), {})
    beside = Event.objects.filter(
        tenant=tenant, subject_id=event.subject_id, seq__in=(event.seq - 1, event.seq + 1)
    ).order_by("seq")
    by_seq = {neighbour.seq: neighbour for neighbour in beside}
    named = row.envelope.get("artifacts")
    return Opened(
        row=row,
        facts=[_fact(name, fact, private) for name, fact in _facts(row.envelope).items()],
        artifacts=named if isinstance(named, list) else [],
        previous=by_seq.get(event.seq - 1),
        following=by_seq.get(event.seq + 1),
        log_index=log_indexes([event]).get(event.pk),
    )


def log_indexes(events: Sequence[Event]) -> dict[int, int]:
    """Where these events are in their tenant's sealed log, as far as they are: {event's id: log index}. One query."""
    sealed = Leaf.objects.filter(event_id__in=[event.pk for event in events])
    return dict(sealed.values_list("event_id", "log_index"))


def _facts(envelope: Mapping[str, Any]) -> dict[str, Any]:
    facts = envelope.get("facts")
    return facts if isinstance(facts, dict) else {}


def _fact(name: str, fact: Any, private: Mapping[str, str | None]) -> dict[str, Any]:
    """A fact for the page: its text, whether it is private, and whether it was erased."""
    if name in private:
        value = private[name]
        return {"name": name, "text": visible(value or ""), "is_private": True, "is_erased": value is None}
    return {"name": name, "text": _value(fact)[:VALUE_CHARS], "is_private": False, "is_erased": False}


def _value(fact: Any) -> str:
    return visible(fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False, separators=(", ", ": ")))
