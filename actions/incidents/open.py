"""Open incidents: a failed or held action gets exactly one, by the rule of its environment."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from actions.incidents.delivery import enqueue_webhooks
from actions.lifecycle.commit import commit
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action, Incident, IncidentRule
from actions.models.incident import ALWAYS_OPENS, DEFAULT_ENDINGS, SEVERITIES
from actions.models.states import HeldReason
from audit.changes.masking import mask
from audit.database.clock import database_time
from audit.models import Event
from tenants.access import who_may
from tenants.models import Environment, Principal
from tenants.vault import mask_key

ACTOR = "system:incidents"
BATCH = 50
END_STATES = ("failed", "rolled_back")
ENDS = ("action.hold", "action.fail", "action.finish_rollback")
ENDED_WELL = Q(action__state="completed") | (Q(action__state="rolled_back") & ~Q(ending="rolled_back"))
UNRESOLVED = ~Q(state="resolved")
HEAVY = ("parameters", "checks", "result", "reason")
TITLE, MESSAGE = 120, 160  # characters of each in a summary
EventBodies = dict[UUID, dict[str, Any]]


def unanswered_actions() -> QuerySet[Action, Any]:
    """The actions whose last ending has not been processed yet."""
    return Action.objects.filter(incident_seq__isnull=False)


def open_due(limit: int = BATCH) -> int:
    """
    Open the incidents of up to `limit` endings; return how many actions were processed. A fixed number of statements.

    No incident is opened if the rule excludes the ending, if the action moved on meanwhile, or if a person ended it. A
    newer incident resolves an older one of the same action and keeps its assignee.
    """
    with transaction.atomic():
        found = unanswered_actions().select_for_update(skip_locked=True, of=("self",)).defer(*HEAVY)
        actions = list(found.select_related("environment__tenant", "requester__owner").order_by("pk")[:limit])
        if not actions:
            return 0
        now, bodies = database_time(), _bodies(actions)
        rules = rules_of({a.environment_id: a.environment for a in actions}.values())
        older = _older(actions)
        new = [
            _build_incident(a, rules[a.environment_id], bodies[a.pk]["facts"], older.get(a.pk), now)
            for a in actions
            if _opens_incident(a, rules[a.environment_id], bodies[a.pk])
        ]
        _unassign_ineligible(new)
        over = {t.action_id for t in new} | {a.pk for a in actions if a.state == "rolled_back"}
        _store(new, [t for t in older.values() if t.action_id in over], now)
        unanswered_actions().filter(pk__in=[a.pk for a in actions]).update(incident_seq=None)
    return len(actions)


def resolve_finished(limit: int = BATCH) -> int:
    """Resolve the incidents of actions that resumed and ended well; return how many."""
    with transaction.atomic():
        over = _finished().values_list("action_id", flat=True).order_by("pk")[:limit]
        ids = list(over)
        if not ids:
            return 0
        list(Action.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk"))
        incidents = list(_finished().filter(action__in=ids).select_related(*JOINED))
        _store([], incidents, database_time())
    return len(incidents)


def has_finished() -> bool:
    return _finished().exists()


JOINED = ("action__environment__tenant", "action__requester__owner", "assignee")


def _finished() -> QuerySet[Incident, Any]:
    return Incident.objects.filter(UNRESOLVED, ENDED_WELL)


def _older(actions: Sequence[Action]) -> dict[UUID, Incident]:
    """The incidents of these actions that are not resolved yet, by action. One query."""
    mine = {a.pk: a for a in actions}
    found = Incident.objects.filter(UNRESOLVED, action__in=list(mine)).select_related("assignee")
    for incident in (incidents := {t.action_id: t for t in found}).values():
        incident.action = mine[incident.action_id]
    return incidents


def _bodies(actions: Sequence[Action]) -> EventBodies:
    """The events that ended or held these actions, by action. One query."""
    wanted = {a.pk: a.incident_seq or 0 for a in actions}
    about = Event.objects.filter(subject_kind="action", subject_id__in=list(wanted), verb__in=ENDS)
    found: EventBodies = {pk: {"actor": ACTOR, "facts": {}} for pk in wanted}
    for pk, seq, body in about.values_list("subject_id", "seq", "body"):
        if seq == wanted[pk]:
            found[pk] = json.loads(bytes(body))
    return found


def ending_of(action: Action) -> str:
    """The ending (of ENDINGS) of an action; empty while it is not failed, rolled back or held."""
    if action.state == "held":
        return action.held_reason
    return str(action.state) if action.state in END_STATES else ""


def _opens_incident(action: Action, rule: IncidentRule, body: dict[str, Any]) -> bool:
    ending = ending_of(action)
    if not ending or action.simulated or not str(body["actor"]).startswith("system:"):
        return False
    return ending in rule.endings or ending == ALWAYS_OPENS


def _build_incident(
    action: Action, rule: IncidentRule, facts: dict[str, Any], older: Incident | None, now: datetime
) -> Incident:
    error, ending = action.error or {}, ending_of(action)
    details = error.get("details") or {}
    impact = facts.get("prediction_accuracy") or {}
    kept = {
        "step": facts.get("step") or details.get("step"),
        "remains": facts.get("remains") or [],
        "checks": details.get("checks") or [],
        "standing": int(impact.get("standing") or 0),
        "roles": sorted({rule.escalate_to, rule.role if rule.to == IncidentRule.To.ROLE else ""} - {""}),
    }
    made = Incident(
        tenant_id=action.tenant_id,
        environment_id=action.environment_id,
        action=action,
        ending=ending,
        ending_seq=action.incident_seq or 0,
        code=str(error.get("code", ""))[:120] if action.state != "held" else ending,
        severity=severity_of(action.environment.risk_class, ending, bool(kept["remains"] or kept["standing"])),
        summary=summary_of(action, str(error.get("message", ""))),
        facts=kept,
        opened_at=now,
        due_at=now + timedelta(seconds=rule.acknowledge_within_s),
    )
    made.assignee = older.assignee if older and older.assignee else first_assignee(rule, action)
    made.assigned_at = now if made.assignee else None
    return made


def summary_of(action: Action, message: str) -> str:
    """One line: the action and its ending. Probable secrets are masked."""
    endings = {"failed": "failed", "rolled_back": "was rolled back"}
    what = endings.get(action.state) or f"is held ({HeldReason(action.held_reason).label})"
    because = f": {message[:MESSAGE]}" if message else ""
    text = " ".join(f"“{action.title[:TITLE]}” {what}{because}".split())
    return mask(text, mask_key(action.environment.tenant))[:300]


def _unassign_ineligible(incidents: Sequence[Incident]) -> None:
    """Unassign people who may no longer view the incident. One query per environment."""
    places = {t.environment_id: t.action.environment for t in incidents}
    for pk, place in places.items():
        here = [t for t in incidents if t.environment_id == pk]
        asked = {t.assignee_id for t in here if t.assignee_id and _is_person(t.assignee)}
        may = who_may("view", place, list(asked)) if asked else set()
        for incident in here:
            if incident.assignee_id not in may:
                incident.assignee, incident.assigned_at = None, None


def _is_person(principal: Principal | None) -> bool:
    return principal is not None and principal.is_person() and principal.is_active


def _store(new: Sequence[Incident], over: Sequence[Incident], now: datetime) -> None:
    """Resolve replaced incidents, store new ones, and record the events of both on their actions."""
    notes: dict[UUID, list[Note]] = {}
    actions: dict[UUID, Action] = {}
    newer = {t.action_id for t in new}
    Incident.objects.filter(pk__in=[t.pk for t in over]).update(state="resolved", resolved_at=now)
    for incident in over:
        incident.state, incident.resolved_at = Incident.State.RESOLVED, now
        because = "a newer incident" if incident.action_id in newer else str(incident.action.state)
        actions[incident.action_id] = incident.action
        notes.setdefault(incident.action_id, []).append(
            Note("incident.resolved", {"incident": str(incident.pk), "because": because})
        )
    Incident.objects.bulk_create(new)
    for incident in new:
        actions[incident.action_id] = incident.action
        notes.setdefault(incident.action_id, []).append(Note("incident.opened", _facts(incident)))
    commit([Transition(actions[pk], by=ACTOR, notes=said) for pk, said in notes.items()])
    enqueue_webhooks([(t, "resolved") for t in over], now)


def _facts(incident: Incident) -> dict[str, Any]:
    return {
        "incident": str(incident.pk),
        "ending": incident.ending,
        "ending_seq": incident.ending_seq,
        "code": incident.code,
        "severity": incident.severity,
        "assignee": str(incident.assignee_id) if incident.assignee_id else None,
    }


# The incident rules of tenants.


DEFAULT_RULE = IncidentRule(endings=list(DEFAULT_ENDINGS))
MAX_RECIPIENTS = 50
BASE_SEVERITY = {"safe": 0, "guarded": 1, "dangerous": 2}
UNKNOWN_STATE_ENDINGS = ("in_doubt", "rollback_failed", "risk_spike")
"""Endings after which the state of the target is unknown."""


def rules_of(environments: Iterable[Environment]) -> dict[UUID, IncidentRule]:
    """{environment id: its rule}: its own, else its tenant's, else the built-in one. One query."""
    places = {place.pk: place.tenant_id for place in environments}
    found = list(IncidentRule.objects.filter(tenant__in=set(places.values())).select_related("person"))
    own = {rule.environment_id: rule for rule in found if rule.environment_id}
    whole = {rule.tenant_id: rule for rule in found if rule.environment_id is None}
    return {pk: own.get(pk) or whole.get(tenant) or DEFAULT_RULE for pk, tenant in places.items()}


def severity_of(risk_class: str, ending: str, standing: bool) -> str:
    """The severity: by the environment, one higher if an effect may remain. Pure."""
    worse = ending in UNKNOWN_STATE_ENDINGS or standing
    better = ending == "rolled_back"
    return SEVERITIES[max(0, min(3, BASE_SEVERITY.get(risk_class, 1) + worse - better))]


def first_assignee(rule: IncidentRule, action: Action) -> Principal | None:
    """
    The assignee of an action's incident; None for a role. `requester__owner` must be joined.

    `open_incidents` drops assignees who may no longer view the environment.
    """
    if rule.to == IncidentRule.To.PERSON:
        return rule.person
    if rule.to == IncidentRule.To.REQUESTER:
        return action.requester.owner or action.requester
    return None


def people_with_role(role: str, environment: Environment) -> list[Principal]:
    """The active people with a role who may view an environment, 50 at most. Two queries."""
    if not role:
        return []
    in_role = Principal.objects.filter(groups__role__tenant=environment.tenant_id, groups__role__name=role)
    active = in_role.filter(is_active=True, kind="person").distinct().order_by("username")
    people = list(active[:MAX_RECIPIENTS])
    may = who_may("view", environment, [p.pk for p in people])
    return [p for p in people if p.pk in may]
