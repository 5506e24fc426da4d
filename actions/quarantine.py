"""
Resources that nothing may touch: which are, and what an action that has to leave one behind writes.

Whether something is in quarantine is known to a run as it is claimed (`Case.quarantines`, read together with the
action), and asked once more as its claims are taken, in a query that is made anyway.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from actions.lifecycle import Note
from actions.locks import key_of
from actions.models import Action, Quarantine

Resources = Iterable[Mapping[str, Any]]
MOST_NAMED = 20


def in_quarantine(keys: Iterable[str]) -> dict[str, Quarantine]:
    """The quarantines in force of these resources, by key, with the actions that set them. One query."""
    found = Quarantine.objects.filter(key__in=list(keys), cleared_at=None).select_related("action")
    return {q.key: q for q in found}


def in_force(environment_ids: Iterable[UUID]) -> dict[UUID, dict[str, Quarantine]]:
    """Every quarantine in force of these environments, by environment and key. One query."""
    found: dict[UUID, dict[str, Quarantine]] = {}
    for q in Quarantine.objects.filter(environment__in=list(environment_ids), cleared_at=None):
        found.setdefault(q.environment_id, {})[q.key] = q
    return found


def touched(action: Action, resources: Resources, quarantines: Mapping[str, Quarantine]) -> list[Quarantine]:
    """Those of these quarantines that an action with these resources would touch; what it set itself does not count."""
    if not quarantines:
        return []
    keys = {key_of(action.environment_id, str(r["kind"]), str(r["name"])) for r in resources}
    found = [quarantines[key] for key in sorted(keys & quarantines.keys())]
    return [q for q in found if q.action_id is None or q.action_id != action.pk]


def in_words(quarantines: Sequence[Quarantine]) -> str:
    """What is in quarantine since when, and why, in a sentence each."""
    said = [
        f"{q.kind} {q.name} is in quarantine since {q.since:%Y-%m-%d %H:%M} UTC: {q.get_because_display()}."
        for q in quarantines[:MOST_NAMED]
    ]
    more = len(quarantines) - len(said)
    return " ".join([*said, *([f"{more} more are."] if more > 0 else [])])


def told(quarantines: Sequence[Quarantine]) -> list[dict[str, Any]]:
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
        for q in quarantines[:MOST_NAMED]
    ]


def concerned(resources: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """
    The resources (kind, name) that these steps touch, as far as it can be told: a step's target is a resource's name.

    Of a step that names none, all that the plan has for itself, or else everything: too much rather than too little.
    """
    own = [r for r in resources if not r.get("shared")] or list(resources)
    found: dict[tuple[str, str], None] = {}
    for step in steps:
        mine = [r for r in resources if str(r["name"]) == str(step.get("target"))] or own
        found.update(((str(r["kind"]), str(r["name"])), None) for r in mine)
    return list(found)


def left_behind(
    action: Action, resources: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]], because: str
) -> list[Quarantine]:
    """The quarantines of what these steps touched; to be written together with the move that leaves it so."""
    return [
        Quarantine(
            tenant_id=action.tenant_id,
            environment_id=action.environment_id,
            kind=kind,
            name=name,
            key=key_of(action.environment_id, kind, name),
            action_id=action.pk,
            because=because,
        )
        for kind, name in concerned(resources, steps)
    ]


def set_note(quarantines: Sequence[Quarantine]) -> list[Note]:
    """The event that tells of quarantines being set; none without any."""
    if not quarantines:
        return []
    named = [{"kind": q.kind, "name": q.name} for q in quarantines[:MOST_NAMED]]
    facts = {"because": str(quarantines[0].because), "resources": named, "count": len(quarantines)}
    return [Note("quarantine.set", facts)]
