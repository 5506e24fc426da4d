"""Read the log of one tenant: filters, one page by keyset, and an event with what it committed to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from audit.models import Event, PrivateValue
from audit.verify import commitments_of

Place = tuple[UUID, int]  # subject id and seq


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see; all of it must hold. A verb also stands for all that begin with it and a dot."""

    subject: UUID | None = None
    actor: str = ""
    verb: str = ""
    outcome: str = ""
    correlation_id: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def condition(self) -> Q:
        equal = {"actor": self.actor, "outcome": self.outcome, "correlation_id": self.correlation_id,
                 "subject_id": self.subject, "at__gte": self.since, "at__lt": self.until}  # fmt: skip
        found = Q(**{name: value for name, value in equal.items() if value})
        if self.verb:
            found &= Q(verb=self.verb) | Q(verb__startswith=f"{self.verb.rstrip('.')}.")
        return found


def page_of(tenant: UUID, asked: Asked, before: int | None, limit: int) -> tuple[list[Event], int | None]:
    """The newest `limit` events, older than the event `before`; and the cursor of the page after, if there is one."""
    found = Event.objects.filter(asked.condition(), tenant=tenant)
    if before is not None:
        found = found.filter(id__lt=before)
    events = list(found.order_by("-id")[: limit + 1])
    return events[:limit], events[limit - 1].pk if len(events) > limit else None


def envelope_of(event: Event) -> dict[str, Any]:
    """What was recorded. {} when the bytes are no longer readable: verifying says so, reading must not fail over it."""
    try:
        envelope = json.loads(bytes(event.body))
    except ValueError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def private_values(events: Sequence[Event]) -> dict[Place, dict[str, str | None]]:
    """What these events committed to, by name; None when it was erased. One query, none if there is nothing."""
    found: dict[Place, dict[str, str | None]] = {}
    for event in events:
        facts = envelope_of(event).get("facts")
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
