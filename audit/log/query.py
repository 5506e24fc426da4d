"""Read the log of one tenant: filters, envelopes, and the private values that events committed to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q

from audit.models import Event, PrivateValue
from audit.verify import commitments_of

EventKey = tuple[UUID, int]  # subject id and seq


@dataclass(frozen=True)
class EventFilter:
    """Conditions on events; all must match. A verb also matches all that begin with it and a dot."""

    subject: UUID | None = None
    actor: str = ""
    verb: str = ""
    outcome: str = ""
    correlation_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    environment: UUID | None = None
    type: str = ""
    kind: str = ""
    around: date | None = None
    days: int = 3
    """How far from `around`, on either side."""
    words: str = ""

    @property
    def needs_index(self) -> bool:
        """Whether this needs the index: an event alone does not say where its subject is."""
        return bool(self.environment or self.type)

    def window(self) -> tuple[datetime | None, datetime | None]:
        """From when until before when, of all that says so."""
        since, until = self.since, self.until
        if self.around is not None:
            day = datetime(self.around.year, self.around.month, self.around.day, tzinfo=UTC)
            first, last = day - timedelta(days=self.days), day + timedelta(days=self.days + 1)
            since, until = max(since or first, first), min(until or last, last)
        return since, until

    def condition(self) -> Q:
        """The condition on columns of events; where `needs_index` is true, the index is needed too."""
        since, until = self.window()
        equal = {
            "actor": self.actor,
            "outcome": self.outcome,
            "correlation_id": self.correlation_id,
            "subject_id": self.subject,
            "subject_kind": self.kind,
            "at__gte": since,
            "at__lt": until,
        }
        found = Q(**{name: value for name, value in equal.items() if value})
        if self.verb:
            found &= Q(verb=self.verb) | Q(verb__startswith=f"{self.verb.rstrip('.')}.")
        return found


def read_envelope(event: Event) -> dict[str, Any]:
    """The recorded envelope. {} when the bytes are unreadable: verification reports that, reading must not fail."""
    try:
        envelope = json.loads(bytes(event.body))
    except ValueError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def read_private_values(events: Sequence[Event]) -> dict[EventKey, dict[str, str | None]]:
    """What these events committed to, by name; None when it was erased. One query, none if there is nothing."""
    found: dict[EventKey, dict[str, str | None]] = {}
    for event in events:
        facts = read_envelope(event).get("facts")
        if isinstance(facts, dict) and (names := commitments_of({"facts": facts})):
            found[event.subject_id, event.seq] = dict.fromkeys(names)
    if found:
        seqs = [seq for _, seq in found]
        kept = PrivateValue.objects.filter(
            subject_id__in={subject for subject, _ in found}, seq__range=(min(seqs), max(seqs)), value__isnull=False
        )
        for subject, seq, name, value in kept.values_list("subject_id", "seq", "name", "value"):
            if name in found.get((subject, seq), {}):
                found[subject, seq][name] = bytes(value or b"").decode("utf-8", "replace")
    return found
