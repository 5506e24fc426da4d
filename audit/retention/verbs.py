"""What an admin of the tenant says about keeping and letting go. Every verb leaves an event."""

from typing import Any
from uuid import UUID

from django.db import transaction

from audit.errors import Invalid, NotFound
from audit.events import Entry, Subject, record
from audit.models import Event
from audit.retention import erasure
from audit.retention.models import Archive, Retention

SHORTEST_DAYS, LONGEST_DAYS = 30, 36_500


def keep_for(tenant: UUID, days: int | None, by: str) -> None:
    """Keep events in the database for so many days at least; None: for ever. Event `retention.set`. Raises Invalid."""
    if days is not None and not SHORTEST_DAYS <= days <= LONGEST_DAYS:
        words = f"Between {SHORTEST_DAYS} and {LONGEST_DAYS:,} days, or nothing to keep them for ever."
        raise Invalid(words, issues=[{"severity": "error", "field": "keep_days", "message": words}])
    with transaction.atomic():
        row, _ = Retention.objects.select_for_update().get_or_create(pk=tenant)
        facts = {"from": row.keep_days, "to": days}
        row.keep_days = days
        row.save()
        record(Entry(tenant, Subject("tenant", tenant), "retention.set", by, facts=facts))


def erase_person(tenant: UUID, person: UUID, reason: str, by: str) -> dict[str, int]:
    """Erase what a person of this tenant wrote, and is called. Raises NotFound, Invalid, Held, Conflict."""
    acted = Event.objects.filter(tenant=tenant, actor=str(person)).exists()
    if not acted and not Event.objects.filter(tenant=tenant, subject_id=person).exists():
        raise NotFound
    return erasure.erase_person(tenant, person, reason, by)


def archives_of(tenant: UUID) -> list[Archive]:
    """The newest archives first."""
    return list(Archive.objects.filter(tenant=tenant).order_by("-first")[:200])


def archive_of(tenant: UUID, archive_id: UUID) -> Archive:
    """Raises NotFound."""
    found = Archive.objects.filter(pk=archive_id, tenant=tenant).first()
    if found is None:
        raise NotFound
    return found


def erased_words(erased: dict[str, int]) -> str:
    """What was erased, in words."""
    told: dict[str, Any] = {"values": "values in the log", "actions": "actions' words", "comments": "comments"}
    parts = [f"{erased[name]} {words}" for name, words in told.items() if erased.get(name)]
    names = "; the account's name is gone" if erased.get("names") else ""
    return (f"Erased: {', '.join(parts)}" if parts else "There was nothing left to erase") + f"{names}."
