"""Quarantines as people set them, and as an approved action clears them: each with an event of its own."""

from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from actions.errors import AlreadyQuarantined, InUse, NotAllowed, WrongState
from actions.locks import HOLDING, key_of
from actions.models import Action, Quarantine, ResourceClaim
from actions.types.clear_quarantine.keeper import Kept
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access, visible_to
from tenants.models import Environment

MOST_NAME, MOST_KIND = 1_000, 64
BY = "system:execute"
JOINED = ("environment", "action", "by__owner", "cleared_by_action")


def visible(access: Access) -> QuerySet[Quarantine]:
    """The quarantines that the caller may view, joined for a list; those in force first, the newest before."""
    return visible_to(Quarantine.objects.select_related(*JOINED), access).order_by("-id")


def find(access: Access, quarantine_id: UUID) -> Quarantine:
    found = visible(access).filter(pk=quarantine_id).first()
    if found is None:
        raise NotFound
    return found


def put_in_quarantine(
    access: Access, environment: str, kind: str, name: str, reason: str, *, correlation_id: str = ""
) -> Quarantine:
    """
    Let nothing touch a resource from now on; who operates the environment may. Names are as plans have them.

    Raises Invalid with its fields, NotAllowed, InUse while an action has the resource, AlreadyQuarantined.
    """
    place = Environment.objects.filter(tenant=access.tenant, slug=environment).first()
    if place is None or not access.can("view", place.pk):
        raise Invalid(issues=[_issue("environment", f"You have no environment {environment!r}.")])
    name = name.strip().removeprefix(f"{place.slug}:")
    if issues := _issues(kind.strip(), name, reason.strip()):
        raise Invalid(issues=issues)
    if not access.can("operate", place.pk):
        raise NotAllowed(f"Only an operator of {place.slug} may put something there in quarantine.")
    key = key_of(place.pk, kind.strip(), name)
    with transaction.atomic():
        _refuse_in_use(key)
        made = Quarantine(
            tenant=access.tenant,
            environment=place,
            key=key,
            kind=kind.strip(),
            name=name,
            by=access.principal,
            because=Quarantine.Because.OPERATOR,
            reason=reason.strip(),
        )
        try:
            with transaction.atomic():
                made.save(force_insert=True)
        except IntegrityError:
            raise AlreadyQuarantined from None
        facts = {"environment": str(place.pk), "kind": made.kind, "name": name, "because": str(made.because)}
        _record(made, "quarantine.set", str(access.principal.pk), correlation_id, facts, {"reason": made.reason})
    return find(access, made.pk)


def _refuse_in_use(key: str) -> None:
    claim = ResourceClaim.objects.filter(key=key, held=True).select_related("action").first()
    if claim is not None:
        raise InUse(
            f"{claim.action.title} has it now.",
            remedies=[f"Abort or settle that action first: /actions/{claim.action_id}/run/", "Or wait until it ends."],
        )


def _issues(kind: str, name: str, reason: str) -> list[dict[str, str]]:
    found = []
    for field, text, most in (("kind", kind, MOST_KIND), ("name", name, MOST_NAME), ("reason", reason, 4_000)):
        if not text:
            words = "Say why: whoever clears it reads it." if field == "reason" else "As the plans of actions name it."
            found.append(_issue(field, words))
        elif len(text) > most:
            found.append(_issue(field, f"At most {most:,} characters."))
        elif any(ord(c) < 32 and c not in "\n\t\r" for c in text):
            found.append(_issue(field, "Control characters are not accepted here."))
    return found


def _issue(field: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}


class DatabaseKeeper:
    """Keeps quarantines in the database, for the executor that clears them."""

    def find(self, tenant_id: UUID, quarantine_id: UUID) -> Kept | None:
        found = Quarantine.objects.select_related("environment", "action").filter(tenant=tenant_id, pk=quarantine_id)
        q = found.first()
        return kept(q) if q else None

    def clear(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        _refuse_nobody(action_id)
        with transaction.atomic():
            q = _locked(tenant_id, quarantine_id)
            if q.cleared_at is not None:
                if q.cleared_by_action_id == action_id:
                    return False
                raise WrongState("It was cleared by another action meanwhile.")
            if (setter := kept(q).held_by) is not None:
                raise WrongState(f"The action that left it so has not ended: {setter}.")
            Quarantine.objects.filter(pk=q.pk).update(cleared_at=Now(), cleared_by_action=action_id)
            _record(q, "quarantine.cleared", BY, f"step:{key}", {"action": str(action_id)})
        return True

    def put_back(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        with transaction.atomic():
            q = _locked(tenant_id, quarantine_id)
            if q.cleared_at is None:
                return False
            undone = Action.objects.filter(pk=_refuse_nobody(action_id)).values_list("undo_of", flat=True).first()
            if q.cleared_by_action_id not in (action_id, undone):
                raise WrongState("It was cleared by another action, which this one does not undo.")
            if Quarantine.objects.filter(key=q.key, cleared_at=None).exists():
                raise AlreadyQuarantined
            Quarantine.objects.filter(pk=q.pk).update(cleared_at=None, cleared_by_action=None)
            _record(q, "quarantine.put_back", BY, f"step:{key}", {"action": str(action_id)})
        return True


def _refuse_nobody(action_id: UUID | None) -> UUID:
    if action_id is None:
        raise WrongState("A quarantine is cleared, or put back, by an action only.")
    return action_id


def kept(q: Quarantine) -> Kept:
    """A quarantine as the executor sees it; environment and action must be joined."""
    live = q.action_id if q.action is not None and q.action.state in HOLDING else None
    return Kept(
        id=q.pk,
        environment_id=q.environment_id,
        environment=q.environment.slug,
        kind=q.kind,
        name=q.name,
        because=q.get_because_display(),
        since=f"{q.since:%Y-%m-%d %H:%M:%S} UTC",
        standing="in_force" if q.cleared_at is None else "cleared",
        cleared_by=q.cleared_by_action_id,
        held_by=live,
    )


def _locked(tenant_id: UUID, quarantine_id: UUID) -> Quarantine:
    rows = Quarantine.objects.select_for_update(of=("self",)).select_related("environment", "action")
    found = rows.filter(tenant=tenant_id, pk=quarantine_id).first()
    if found is None:
        raise NotFound("There is no such quarantine.")
    return found


def subject_of(q: Quarantine) -> Subject:
    return Subject("quarantine", q.pk, f"Quarantine of {q.kind} {q.name}"[:200], "/quarantine/")


def _record(
    q: Quarantine, verb: str, by: str, correlation_id: str, facts: dict[str, str], private: dict[str, str] | None = None
) -> None:
    record(
        NewEvent(
            tenant=q.tenant_id,
            subject=subject_of(q),
            verb=verb,
            actor=by,
            correlation_id=correlation_id[:128],
            facts=facts,
            private=private or {},
        )
    )
