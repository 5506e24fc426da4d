"""Set legal holds, and erase a person's data: salts and values go, the events that committed to them stay.

The log verifies as before. A person's words are every private value of an event that they caused; what is stored about
them is every private value of their own subject. Floors above erase what they keep themselves: `register_eraser`.
Nothing
that a legal hold covers is erased or leaves the database.
"""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models import Event, PrivateValue
from audit.models.seals import LegalHold


class UnderLegalHold(Conflict):
    """A legal hold covers this."""

    code = "legal_hold"


def set_hold(tenant: UUID, reason: str, by: str, subject_id: UUID | None = None) -> LegalHold:
    """Let nothing of a subject, or of the whole tenant, be pruned or erased. Event `legal_hold.set`. Raises Invalid."""
    reason = " ".join(reason.split())
    if not reason or len(reason) > 500:
        issue = {"severity": "error", "field": "reason", "message": "Give a reason of at most 500 characters."}
        raise Invalid("A legal hold needs a reason.", issues=[issue])
    with transaction.atomic():
        made = LegalHold.objects.create(tenant=tenant, subject_id=subject_id, reason=reason, set_by=by)
        _record_event(made, "legal_hold.set", by, {"reason": reason})
    return made


def lift_hold(tenant: UUID, hold_id: UUID, by: str) -> None:
    """Lift an active hold. Event `legal_hold.lifted`. Raises NotFound."""
    with transaction.atomic():
        hold = LegalHold.objects.select_for_update().filter(pk=hold_id, tenant=tenant, lifted_at=None).first()
        if hold is None:
            raise NotFound
        hold.lifted_at, hold.lifted_by = database_time(), by
        hold.save(update_fields=["lifted_at", "lifted_by"])
        _record_event(hold, "legal_hold.lifted", by, {})


def active_holds(tenant: UUID) -> list[LegalHold]:
    """The active holds, newest first."""
    return list(LegalHold.objects.filter(tenant=tenant, lifted_at=None).order_by("-set_at")[:500])


def held_subjects(tenant: UUID, subject_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these subjects may not be touched: all, while the tenant as a whole is held. One query."""
    ids = set(subject_ids)
    holds = set(LegalHold.objects.filter(tenant=tenant, lifted_at=None).values_list("subject_id", flat=True))
    return ids if None in holds else ids & holds


def refuse_if_held(tenant: UUID, subject_ids: Iterable[UUID]) -> None:
    """Raises UnderLegalHold when a hold stands on any of them."""
    held = held_subjects(tenant, subject_ids)
    if held:
        remedies = ["An admin of the tenant must lift the hold first: /audit/retention/."]
        raise UnderLegalHold(f"A legal hold covers {len(held)} of these subjects.", remedies=remedies)


def _record_event(it: LegalHold, verb: str, by: str, private: dict[str, str]) -> None:
    facts = {"subject": str(it.subject_id)} if it.subject_id else {"everything": True}
    record(
        NewEvent(
            it.tenant,
            Subject("legal_hold", it.pk, "Legal hold", "/audit/retention/"),
            verb,
            by,
            facts=facts,
            private=private,
        )
    )


Eraser = Callable[[UUID, UUID], int]
"""Given tenant and principal: erases what a floor keeps of them, and returns how many rows it touched."""
_erasers: dict[str, Eraser] = {}
BATCH = 5_000


def register_eraser(name: str, eraser: Eraser) -> None:
    _erasers[name] = eraser


def erase_person(tenant: UUID, person: UUID, reason: str, by: str) -> dict[str, int]:
    """
    Erase what a person wrote and what is told about them in this tenant; return how much, by kind.

    One transaction. Event `person.erased` on the person's subject, with counts. Raises UnderLegalHold, Invalid.
    """
    if not reason.strip():
        issue = {"severity": "error", "field": "reason", "message": "Give a reason, such as who asked for it."}
        raise Invalid("An erasure needs a reason.", issues=[issue])
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
    """Erase the values of one subject, or only those of these names. Event `values.erased`. Raises UnderLegalHold."""
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
    """Erase the texts and the name of a person of this tenant. Raises NotFound, Invalid, UnderLegalHold, Conflict."""
    acted = Event.objects.filter(tenant=tenant, actor=str(person)).exists()
    if not acted and not Event.objects.filter(tenant=tenant, subject_id=person).exists():
        raise NotFound
    return erase_person(tenant, person, reason, by)


def describe_erasure(erased: dict[str, int]) -> str:
    """Describe what was erased."""
    told: dict[str, Any] = {"values": "values in the log", "actions": "texts of actions", "comments": "comments"}
    parts = [f"{erased[name]} {words}" for name, words in told.items() if erased.get(name)]
    names = "; the account's name was removed" if erased.get("names") else ""
    return (f"Erased: {', '.join(parts)}" if parts else "Nothing was left to erase") + f"{names}."
