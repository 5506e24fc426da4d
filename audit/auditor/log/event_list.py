"""The list of events: its filters in the address, its rows, one row opened."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict

from audit.changes.masking import visible
from audit.log.events import Subject
from audit.log.query import EventFilter, read_envelope, read_private_values
from audit.log.subjects import describe_subjects, names_of_event_actors
from audit.models import Event
from audit.models.seals import Leaf
from audit.verify import commitments_of

LABELS = {
    "q": "words",
    "around": "around",
    "subject": "subject",
    "environment": "environment",
    "type": "type",
    "kind": "kind",
    "actor": "actor",
    "verb": "event",
    "outcome": "outcome",
    "correlation_id": "correlation",
    "since": "since",
    "until": "before",
}
DAYS = (0, 1, 3, 7, 30)
DEFAULT_DAYS = 3
MAX_FILTER_CHARS = 128
FIELDS = ("q", "around")
MENU = ("subject", "actor", "verb", "outcome", "correlation_id", "since", "until")
FIRST_PAGE: dict[str, Any] = {"page": None, "before": None, "open": None}


@dataclass(frozen=True)
class LogFilters:
    """The reader's filters, as text. Unreadable values are dropped: addresses are edited by hand."""

    subject: str = ""
    actor: str = ""
    verb: str = ""
    outcome: str = ""
    correlation_id: str = ""
    since: str = ""
    until: str = ""
    q: str = ""
    environment: str = ""
    type: str = ""
    kind: str = ""
    around: str = ""
    days: str = ""
    page: int | None = None
    before: int | None = None
    open: int | None = None

    @classmethod
    def read(cls, query: QueryDict) -> "LogFilters":
        text = {name: query.get(name, "").strip().replace("\x00", "")[:MAX_FILTER_CHARS] for name in LABELS}
        for name in ("subject", "environment"):
            text[name] = str(_parse_uuid(text[name]) or "")
        for name in ("since", "until"):
            text[name] = text[name] if _parse_time(text[name]) else ""
        text["around"] = moment.date().isoformat() if (moment := _parse_time(text["around"])) else ""
        days = query.get("days", "")
        text["days"] = days if text["around"] and days in map(str, DAYS) and days != str(DEFAULT_DAYS) else ""
        page, before, opened = (_parse_number(query.get(name)) for name in ("page", "before", "open"))
        return cls(**text, page=page, before=before, open=opened)

    def event_filter(self) -> EventFilter:
        return EventFilter(
            subject=_parse_uuid(self.subject),
            actor=self.actor,
            verb=self.verb,
            outcome=self.outcome,
            correlation_id=self.correlation_id,
            since=_parse_time(self.since),
            until=_parse_time(self.until),
            environment=_parse_uuid(self.environment),
            type=self.type,
            kind=self.kind,
            words=self.q,
            around=day.date() if (day := _parse_time(self.around)) else None,
            days=int(self.days or DEFAULT_DAYS),
        )

    @property
    def days_around(self) -> int:
        return int(self.days or DEFAULT_DAYS)

    def address(self, **changes: Any) -> str:
        """The query string of these filters with some changed. None and "" leave one out."""
        changed = replace(self, **changes)
        values = {field.name: getattr(changed, field.name) for field in fields(changed)}
        return "?" + urlencode({name: value for name, value in values.items() if value})

    def hidden_fields(self) -> list[tuple[str, str]]:
        """The hidden fields of the search form: the filters that it has no field for."""
        return [(name, getattr(self, name)) for name in LABELS if name not in FIELDS and getattr(self, name)]

    def menu_hidden_fields(self) -> list[tuple[str, str]]:
        """The same for the menu of the other filters."""
        names = [name for name in LABELS if name not in MENU]
        return [(name, getattr(self, name)) for name in [*names, "days"] if getattr(self, name)]

    def chips(self) -> list[dict[str, str]]:
        """The active filters, each with the address that removes it."""
        return [
            {
                "name": name,
                "key": label,
                "value": self._describe(name),
                "without": self.address(**{name: "", **FIRST_PAGE}),
            }
            for name, label in LABELS.items()
            if getattr(self, name)
        ]

    def _describe(self, name: str) -> str:
        text = str(getattr(self, name))
        return f"{text} ± {self.days_around} day{'' if self.days_around == 1 else 's'}" if name == "around" else text


def _parse_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _parse_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _parse_time(text: str) -> datetime | None:
    """A date, or a date and time (UTC unless it says otherwise), between 2000 and 9000."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 2000 <= moment.year <= 9000:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Events as the log shows them: who, what, about what, in one line; and one of them opened.


SUMMARY_CHARS = 160
VALUE_CHARS = 2_000
OUTCOME_LOOKS = {"ok": "", "refused": "warn", "denied": "warn", "failed": "bad", "error": "bad"}
GOOD_VERBS = ("granted", "approve", "accepted", "complete", "done", "created", "issued")
BAD_VERBS = ("rejected", "deny", "fail", "failed", "lost", "reject", "expire")


@dataclass(frozen=True)
class EventRow:
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
        return OUTCOME_LOOKS.get(self.event.outcome, "bad") or (
            "ok" if last in GOOD_VERBS else "bad" if last in BAD_VERBS else ""
        )

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
class EventDetails:
    """An event with all its facts and its neighbours in the chain."""

    row: EventRow
    facts: list[dict[str, Any]]
    artifacts: list[str]
    previous: Event | None
    following: Event | None
    log_index: int | None = None
    """Its place in the tenant's sealed log."""


def event_rows(tenant: UUID, events: Sequence[Event], filters: LogFilters) -> list[EventRow]:
    """The rows of a page; a fixed number of queries."""
    subjects, names = describe_subjects(tenant, events), names_of_event_actors(tenant, events)
    return [
        EventRow(
            event,
            read_envelope(event),
            subjects[event.subject_id],
            names[event.actor],
            event.pk == filters.open,
            filters.address(open=None if event.pk == filters.open else event.pk),
        )
        for event in events
    ]


def event_details(tenant: UUID, row: EventRow) -> EventDetails:
    """One row's details. Three queries."""
    event = row.event
    private = read_private_values([event]).get((event.subject_id, event.seq), {})
    beside = Event.objects.filter(
        tenant=tenant, subject_id=event.subject_id, seq__in=(event.seq - 1, event.seq + 1)
    ).order_by("seq")
    by_seq = {neighbour.seq: neighbour for neighbour in beside}
    named = row.envelope.get("artifacts")
    return EventDetails(
        row=row,
        facts=[_fact(name, fact, private) for name, fact in _facts(row.envelope).items()],
        artifacts=named if isinstance(named, list) else [],
        previous=by_seq.get(event.seq - 1),
        following=by_seq.get(event.seq + 1),
        log_index=read_log_indexes([event]).get(event.pk),
    )


def read_log_indexes(events: Sequence[Event]) -> dict[int, int]:
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
