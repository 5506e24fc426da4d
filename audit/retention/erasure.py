"""
Erasing a person's data: salts and values go, the events that committed to them stay, and the log verifies as before.

What a person wrote is every private value of an event that they caused; what is told about them is every private value
of their own subject. Floors above erase what they keep themselves: `register_eraser`.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models import Event, PrivateValue
from audit.retention.legal_holds import refuse_if_held

Eraser = Callable[[UUID, UUID], int]
"""Given tenant and principal: erases what a floor keeps of them, and returns how many rows it touched."""
_erasers: dict[str, Eraser] = {}
BATCH = 5_000


def register_eraser(name: str, eraser: Eraser) -> None:
    _erasers[name] = eraser


def erase_person(tenant: UUID, person: UUID, reason: str, by: str) -> dict[str, int]:
    """
    Erase what a person wrote and what is told about them in this tenant; return how much, by kind.

    One transaction. Event `person.erased` on the person's subject, with counts. Raises Held, Invalid.
    """
    if not reason.strip():
        issue = {"severity": "error", "field": "reason", "message": "Give the requester or the reason."}
        raise Invalid("Erasing needs its reason.", issues=[issue])
    with transaction.atomic():
        theirs = private_values_of(tenant, person)
        refuse_if_held(tenant, theirs.values_list("subject_id", flat=True).distinct()[:100_000])
        erased = {"values": _erase_rows(theirs)}
        for name, eraser in sorted(_erasers.items()):
            erased[name] = eraser(tenant, person)
        private = {"reason": reason.strip()}
        record(
            NewEvent(
                tenant, Subject("principal", person), "person.erased", by, facts={"erased": erased}, private=private
            )
        )
    return erased


def private_values_of(tenant: UUID, person: UUID) -> QuerySet[PrivateValue]:
    """The private values that are not erased yet: of what the person did, and of the person as a subject."""
    did = Event.objects.filter(subject_id=OuterRef("subject_id"), seq=OuterRef("seq"), actor=str(person))
    kept = PrivateValue.objects.filter(tenant=tenant, erased_at=None)
    return kept.filter(Exists(did)) | kept.filter(subject_id=person)


def erase_values(tenant: UUID, subject_id: UUID, by: str, reason: str, names: list[str] | None = None) -> int:
    """Erase the values of one subject, or only those of these names. Event `values.erased`. Raises Held."""
    refuse_if_held(tenant, [subject_id])
    with transaction.atomic():
        found = PrivateValue.objects.filter(tenant=tenant, subject_id=subject_id, erased_at=None)
        done = _erase_rows(found.filter(name__in=names) if names else found)
        kind = Event.objects.filter(tenant=tenant, subject_id=subject_id).values_list("subject_kind", flat=True).first()
        facts = {"values": done, "names": sorted(names or [])}
        if kind:
            private = {"reason": reason}
            record(NewEvent(tenant, Subject(kind, subject_id), "values.erased", by, facts=facts, private=private))
    return done


def _erase_rows(found: QuerySet[PrivateValue]) -> int:
    """Empty salts and values, some at a time."""
    done = 0
    while ids := list(found.values_list("pk", flat=True)[:BATCH]):
        done += PrivateValue.objects.filter(pk__in=ids).update(salt=None, value=None, erased_at=database_time())
    return done


def erase_known_person(tenant: UUID, person: UUID, reason: str, by: str) -> dict[str, int]:
    """Erase what a person of this tenant wrote, and is called. Raises NotFound, Invalid, Held, Conflict."""
    acted = Event.objects.filter(tenant=tenant, actor=str(person)).exists()
    if not acted and not Event.objects.filter(tenant=tenant, subject_id=person).exists():
        raise NotFound
    return erase_person(tenant, person, reason, by)


def describe_erasure(erased: dict[str, int]) -> str:
    """What was erased, in words."""
    told: dict[str, Any] = {"values": "values in the log", "actions": "actions' words", "comments": "comments"}
    parts = [f"{erased[name]} {words}" for name, words in told.items() if erased.get(name)]
    names = "; the account's name is gone" if erased.get("names") else ""
    return (f"Erased: {', '.join(parts)}" if parts else "There was nothing left to erase") + f"{names}."
