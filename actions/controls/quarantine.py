"""Quarantines: resources that no action may touch, who set them, and how an approved action clears them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from actions.controls.resource_locks import HOLDING_STATES, resource_key
from actions.errors import AlreadyQuarantined, NotAllowed, ResourceInUse, WrongState
from actions.models import Action, Quarantine, ResourceLock
from actions.types.clear_quarantine.executor import QuarantineRecord
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access, visible_to
from tenants.models import Environment

Resources = Iterable[Mapping[str, Any]]
MAX_NAMED = 20


def quarantines_of(keys: Iterable[str]) -> dict[str, Quarantine]:
    """The quarantines in force of these resources, by key, with the actions that set them. One query."""
    found = Quarantine.objects.filter(key__in=list(keys), cleared_at=None).select_related("action")
    return {q.key: q for q in found}


def quarantines_in(environment_ids: Iterable[UUID]) -> dict[UUID, dict[str, Quarantine]]:
    """Every quarantine in force of these environments, by environment and key. One query."""
    found: dict[UUID, dict[str, Quarantine]] = {}
    for q in Quarantine.objects.filter(environment__in=list(environment_ids), cleared_at=None):
        found.setdefault(q.environment_id, {})[q.key] = q
    return found


def touched_quarantines(
    action: Action, resources: Resources, quarantines: Mapping[str, Quarantine]
) -> list[Quarantine]:
    """Those of these quarantines that an action with these resources would touch, without its own."""
    if not quarantines:
        return []
    keys = {resource_key(action.environment_id, str(r["kind"]), str(r["name"])) for r in resources}
    found = [quarantines[key] for key in sorted(keys & quarantines.keys())]
    return [q for q in found if q.action_id is None or q.action_id != action.pk]


def describe_quarantines(quarantines: Sequence[Quarantine]) -> str:
    """These quarantines in a sentence each: resource, since when, why."""
    said = [
        f"{q.kind} {q.name} is in quarantine since {q.since:%Y-%m-%d %H:%M} UTC: {q.get_because_display()}."
        for q in quarantines[:MAX_NAMED]
    ]
    more = len(quarantines) - len(said)
    return " ".join([*said, *([f"{more} more are."] if more > 0 else [])])


def serialize_quarantines(quarantines: Sequence[Quarantine]) -> list[dict[str, Any]]:
    """Quarantines as plain values: which resource, since when, why, by which action or person."""
    return [
        {
            "id": str(q.pk),
            "kind": q.kind,
            "name": q.name,
            "because": q.because,
            "since": q.since.isoformat(),
            "action": str(q.action_id) if q.action_id else None,
            "by": str(q.by_id) if q.by_id else None,
        }
        for q in quarantines[:MAX_NAMED]
    ]


def resources_of_steps(
    resources: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """
    The resources (kind, name) that these steps touch: a step's target is a resource's name.

    For a step without one, all resources that the plan locks, or else all of them: too many rather than too few.
    """
    own = [r for r in resources if not r.get("shared")] or list(resources)
    found: dict[tuple[str, str], None] = {}
    for step in steps:
        mine = [r for r in resources if str(r["name"]) == str(step.get("target"))] or own
        found.update(((str(r["kind"]), str(r["name"])), None) for r in mine)
    return list(found)


def quarantines_for_steps(
    action: Action, resources: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]], because: str
) -> list[Quarantine]:
    """The quarantines of the resources of these steps; write them together with the move that causes them."""
    return [
        Quarantine(
            tenant_id=action.tenant_id,
            environment_id=action.environment_id,
            kind=kind,
            name=name,
            key=resource_key(action.environment_id, kind, name),
            action_id=action.pk,
            because=because,
        )
        for kind, name in resources_of_steps(resources, steps)
    ]


# Quarantines set by people and cleared by approved actions; each leaves an event.


MAX_NAME, MAX_KIND = 1_000, 64
ACTOR = "system:execute"
JOINED = ("environment", "action", "by__owner", "cleared_by_action")


def visible_quarantines(access: Access) -> QuerySet[Quarantine]:
    """The quarantines that the caller may view, joined for a list; those in force first, newest first."""
    return visible_to(Quarantine.objects.select_related(*JOINED), access).order_by("-id")


def find_quarantine(access: Access, quarantine_id: UUID) -> Quarantine:
    found = visible_quarantines(access).filter(pk=quarantine_id).first()
    if found is None:
        raise NotFound
    return found


def put_in_quarantine(
    access: Access, environment: str, kind: str, name: str, reason: str, *, correlation_id: str = ""
) -> Quarantine:
    """
    Quarantine a resource; operators of the environment may. Use the names of plans.

    Raises Invalid with its fields, NotAllowed, ResourceInUse while an action holds the lock, AlreadyQuarantined.
    """
    place = Environment.objects.filter(tenant=access.tenant, slug=environment).first()
    if place is None or not access.can("view", place.pk):
        raise Invalid(issues=[_issue("environment", f"You have no environment {environment!r}.")])
    name = name.strip().removeprefix(f"{place.slug}:")
    if issues := _issues(kind.strip(), name, reason.strip()):
        raise Invalid(issues=issues)
    if not access.can("operate", place.pk):
        raise NotAllowed(f"Only an operator of {place.slug} may quarantine a resource there.")
    key = resource_key(place.pk, kind.strip(), name)
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
    return find_quarantine(access, made.pk)


def _refuse_in_use(key: str) -> None:
    claim = ResourceLock.objects.filter(key=key, held=True).select_related("action").first()
    if claim is not None:
        raise ResourceInUse(
            f"{claim.action.title} holds its lock now.",
            remedies=[f"Abort or resolve that action first: /actions/{claim.action_id}/run/", "Or wait until it ends."],
        )


def _issues(kind: str, name: str, reason: str) -> list[dict[str, str]]:
    found = []
    for field, text, most in (("kind", kind, MAX_KIND), ("name", name, MAX_NAME), ("reason", reason, 4_000)):
        if not text:
            words = (
                "Give a reason for the person who clears it."
                if field == "reason"
                else "Use the name from the plans of actions."
            )
            found.append(_issue(field, words))
        elif len(text) > most:
            found.append(_issue(field, f"At most {most:,} characters."))
        elif any(ord(c) < 32 and c not in "\n\t\r" for c in text):
            found.append(_issue(field, "Control characters are not accepted here."))
    return found


def _issue(field: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}


class DatabaseQuarantineStore:
    """Stores quarantines in the database, for the executor that clears them."""

    def find(self, tenant_id: UUID, quarantine_id: UUID) -> QuarantineRecord | None:
        found = Quarantine.objects.select_related("environment", "action").filter(tenant=tenant_id, pk=quarantine_id)
        q = found.first()
        return to_stored(q) if q else None

    def clear(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        _require_action(action_id)
        with transaction.atomic():
            q = _locked(tenant_id, quarantine_id)
            if q.cleared_at is not None:
                if q.cleared_by_action_id == action_id:
                    return False
                raise WrongState("Another action has already cleared it.")
            if (setter := to_stored(q).held_by) is not None:
                raise WrongState(f"The action that caused it has not ended: {setter}.")
            Quarantine.objects.filter(pk=q.pk).update(cleared_at=Now(), cleared_by_action=action_id)
            _record(q, "quarantine.cleared", ACTOR, f"step:{key}", {"action": str(action_id)})
        return True

    def put_back(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        with transaction.atomic():
            q = _locked(tenant_id, quarantine_id)
            if q.cleared_at is None:
                return False
            undone = Action.objects.filter(pk=_require_action(action_id)).values_list("undo_of", flat=True).first()
            if q.cleared_by_action_id not in (action_id, undone):
                raise WrongState("Another action cleared it; this one does not undo that.")
            if Quarantine.objects.filter(key=q.key, cleared_at=None).exists():
                raise AlreadyQuarantined
            Quarantine.objects.filter(pk=q.pk).update(cleared_at=None, cleared_by_action=None)
            _record(q, "quarantine.put_back", ACTOR, f"step:{key}", {"action": str(action_id)})
        return True


def _require_action(action_id: UUID | None) -> UUID:
    if action_id is None:
        raise WrongState("Only an action may clear or restore a quarantine.")
    return action_id


def to_stored(q: Quarantine) -> QuarantineRecord:
    """A quarantine for its executor; environment and action must be joined."""
    live = q.action_id if q.action is not None and q.action.state in HOLDING_STATES else None
    return QuarantineRecord(
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
        raise NotFound("This quarantine does not exist.")
    return found


def quarantine_subject(q: Quarantine) -> Subject:
    return Subject("quarantine", q.pk, f"Quarantine of {q.kind} {q.name}"[:200], "/quarantine/")


def _record(
    q: Quarantine, verb: str, by: str, correlation_id: str, facts: dict[str, str], private: dict[str, str] | None = None
) -> None:
    record(
        NewEvent(
            tenant=q.tenant_id,
            subject=quarantine_subject(q),
            verb=verb,
            actor=by,
            correlation_id=correlation_id[:128],
            facts=facts,
            private=private or {},
        )
    )
