"""Legal holds: what may neither leave the database nor be erased until somebody lifts it."""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction

from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models.seals import LegalHold


class UnderLegalHold(Conflict):
    """A legal hold stands on this."""

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
    """Lift a hold that stands. Event `legal_hold.lifted`. Raises NotFound."""
    with transaction.atomic():
        standing = LegalHold.objects.select_for_update().filter(pk=hold_id, tenant=tenant, lifted_at=None).first()
        if standing is None:
            raise NotFound
        standing.lifted_at, standing.lifted_by = database_time(), by
        standing.save(update_fields=["lifted_at", "lifted_by"])
        _record_event(standing, "legal_hold.lifted", by, {})


def active_holds(tenant: UUID) -> list[LegalHold]:
    """The holds that stand, the newest first."""
    return list(LegalHold.objects.filter(tenant=tenant, lifted_at=None).order_by("-set_at")[:500])


def held_subjects(tenant: UUID, subject_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these subjects may not be touched: all, while the tenant as a whole is held. One query."""
    ids = set(subject_ids)
    holds = set(LegalHold.objects.filter(tenant=tenant, lifted_at=None).values_list("subject_id", flat=True))
    return ids if None in holds else ids & holds


def refuse_if_held(tenant: UUID, subject_ids: Iterable[UUID]) -> None:
    """Raises Held when a hold stands on any of them."""
    held = held_subjects(tenant, subject_ids)
    if held:
        remedies = ["An admin of the tenant must lift the hold first: /audit/retention/."]
        raise UnderLegalHold(f"A legal hold covers {len(held)} of what this would touch.", remedies=remedies)


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
