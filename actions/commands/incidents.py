"""
Assign, acknowledge, decline, resolve and comment on an incident. Each leaves an event.

Lock order everywhere: the action's row, then the incident's.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from actions.commands.review import comment_on
from actions.errors import IncidentChanged, NotAllowed
from actions.incidents.delivery import enqueue_mails, enqueue_webhooks
from actions.incidents.open import rules_of
from actions.lifecycle.commit import commit
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action, Delivery, Incident
from approvals.models import Comment
from approvals.requests.comments import may_comment
from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from tenants.access import Access, visible_to, who_may
from tenants.models import Principal

IncidentState = Incident.State
JOINED = ("action__environment__tenant", "action__requester__owner", "action__plan", "assignee__owner", "environment")
MAX_CANDIDATES = 200
MAX_TEXT = 4_000


def visible_incidents(access: Access) -> QuerySet[Incident]:
    """The incidents that the caller may view."""
    return visible_to(Incident.objects.select_related(*JOINED).defer("action__parameters", "action__result"), access)


def find_incident(access: Access, incident_id: UUID) -> Incident:
    """An incident that the caller may view, with everything that pages show. Raises NotFound."""
    found = visible_incidents(access).filter(pk=incident_id).first()
    if found is None:
        raise NotFound
    return found


def candidates(incident: Incident) -> list[Principal]:
    """The active people who may view the incident's environment, by name, 200 at most. Two queries."""
    in_tenant = Principal.objects.filter(groups__role__tenant=incident.tenant_id, is_active=True, kind="person")
    people = list(in_tenant.distinct().order_by("display_name", "username")[:MAX_CANDIDATES])
    may = who_may("view", incident.environment, [p.pk for p in people])
    return [p for p in people if p.pk in may]


def allowed_incident_verbs(access: Access, incident: Incident) -> list[str]:
    """The verbs that the caller could use on this incident now. No query."""
    talks = may_comment(access, incident.environment_id)
    if incident.state == IncidentState.RESOLVED:
        return ["comment"] if talks else []
    mine, person = incident.assignee_id == access.principal.pk, access.is_person()
    operates = access.can("operate", incident.environment_id)
    called = operates or any(access.role_in(role, incident.environment_id) for role in incident.facts.get("roles", []))
    tests = {
        "acknowledge": person
        and incident.state == IncidentState.OPEN
        and (mine or (incident.assignee_id is None and called)),
        "decline": person and mine,
        "assign": called,
        "resolve": person and (mine or operates),
        "comment": talks,
    }
    return [verb for verb, may in tests.items() if may]


def assign(access: Access, incident_id: UUID, to: str, note: str = "", *, correlation_id: str = "") -> Incident:
    """
    Assign an incident to a person (username or id), who is notified and should acknowledge it in time.

    Operators of the environment may assign, and the roles that its rule names; only to a person who may view the
    environment. Raises NotFound, NotAllowed, Invalid, Conflict.
    """
    seen = find_incident(access, incident_id)
    person = _person(seen, to)

    def change(incident: Incident, now: Any) -> dict[str, Any]:
        within = rules_of([incident.environment])[incident.environment_id].acknowledge_within_s
        return {
            "assignee": person,
            "assigned_at": now,
            "state": IncidentState.OPEN,
            "acknowledged_at": None,
            "escalated_at": None,
            "due_at": now + timedelta(seconds=within),
        }

    return _do(access, seen, "assign", "assigned", change, {"to": str(person.pk)}, {"note": note}, correlation_id)


def acknowledge(access: Access, incident_id: UUID, note: str = "", *, correlation_id: str = "") -> Incident:
    """Acknowledge an incident: its assignee may; if it has none, an operator or a role that its rule names."""
    seen = find_incident(access, incident_id)

    def change(incident: Incident, now: Any) -> dict[str, Any]:
        taken = {"assignee": access.principal, "assigned_at": now} if incident.assignee_id is None else {}
        return {"state": IncidentState.ACKNOWLEDGED, "acknowledged_at": now, **taken}

    return _do(access, seen, "acknowledge", "acknowledged", change, {}, {"note": note}, correlation_id)


def decline(access: Access, incident_id: UUID, reason: str, *, correlation_id: str = "") -> Incident:
    """Decline an incident: it becomes unassigned, and the people of its rule are notified at once. Needs a reason."""
    if not reason.strip():
        raise Invalid(issues=[_issue("Give a reason for the next assignee.", "reason")])
    seen = find_incident(access, incident_id)

    def change(incident: Incident, now: Any) -> dict[str, Any]:
        return {
            "assignee": None,
            "assigned_at": None,
            "state": IncidentState.OPEN,
            "acknowledged_at": None,
            "escalated_at": None,
            "due_at": now,
        }

    return _do(access, seen, "decline", "declined", change, {}, {"reason": reason}, correlation_id)


def resolve(access: Access, incident_id: UUID, note: str = "", *, correlation_id: str = "") -> Incident:
    """Resolve an incident: its assignee or an operator may. The action itself does not change."""
    seen = find_incident(access, incident_id)

    def change(incident: Incident, now: Any) -> dict[str, Any]:
        return {"state": IncidentState.RESOLVED, "resolved_at": now}

    return _do(access, seen, "resolve", "resolved", change, {"because": "a person"}, {"note": note}, correlation_id)


def comment(access: Access, incident_id: UUID, text: str, *, correlation_id: str = "") -> Comment:
    """Comment on an incident: a comment on its action."""
    return comment_on(access, find_incident(access, incident_id).action_id, text, correlation_id=correlation_id)


def send_again(access: Access, incident_id: UUID, delivery_id: UUID, *, correlation_id: str = "") -> Delivery:
    """Send a dead letter again, unchanged. Operators only. Raises NotFound, Conflict."""
    incident = find_incident(access, incident_id)
    delivery = incident.deliveries.filter(pk=delivery_id).first()
    if delivery is None:
        raise NotFound
    if not access.can("operate", incident.environment_id):
        raise NotAllowed("Only an operator of the environment may send a notification again.")
    with transaction.atomic():
        action = Action.objects.select_for_update().get(pk=incident.action_id)
        again = {"state": Delivery.State.DUE, "attempts": 0, "next_at": database_time(), "claimed_until": None}
        if not incident.deliveries.filter(pk=delivery_id, state=Delivery.State.FAILED).update(**again):
            raise Conflict(
                "This notification is not a dead letter.", remedies=["Wait: it was sent, or will be retried."]
            )
        facts = {"incident": str(incident.pk), "delivery": str(delivery_id), **_via(correlation_id)}
        commit([Transition(action, by=str(access.principal.pk), notes=[Note("incident.resent", facts)])])
    delivery.refresh_from_db()
    return delivery


Change = Callable[[Incident, Any], dict[str, Any]]


def _do(
    access: Access,
    seen: Incident,
    verb: str,
    what: str,
    change: Change,
    facts: dict[str, Any],
    private: dict[str, str],
    correlation_id: str,
) -> Incident:
    """Change an incident if the caller may, with its event and messages, in one transaction."""
    with transaction.atomic():
        action = Action.objects.select_for_update().get(pk=seen.action_id)
        incident = Incident.objects.select_for_update(of=("self",)).select_related(*JOINED).get(pk=seen.pk)
        _require(access, incident, verb)
        now = database_time()
        before = incident.assignee
        changed = change(incident, now)
        for name, value in changed.items():
            setattr(incident, name, value)
        guard = Incident.objects.filter(pk=incident.pk, state=seen.state, assignee=seen.assignee_id)
        if not guard.update(**changed):
            raise IncidentChanged
        said = {name: text[:MAX_TEXT] for name, text in private.items() if text}
        note = Note(f"incident.{what}", {"incident": str(incident.pk), **facts, **_via(correlation_id)}, said)
        commit([Transition(action, by=str(access.principal.pk), notes=[note])])
        enqueue_webhooks([(incident, what)], now)
        if (
            what == "assigned"
            and incident.assignee
            and incident.assignee != access.principal
            and incident.assignee != before
        ):
            enqueue_mails(incident, what, [incident.assignee], now)
    return find_incident(access, seen.pk)


def _require(access: Access, incident: Incident, verb: str) -> None:
    if verb in allowed_incident_verbs(access, incident):
        return
    if incident.state == IncidentState.RESOLVED:
        raise Conflict("This incident is resolved.", remedies=["Comment on it, or propose a new action."])
    if verb == "acknowledge" and incident.state == IncidentState.ACKNOWLEDGED:
        raise Conflict("This incident is already acknowledged.")
    whose = {"acknowledge": "its assignee", "decline": "its assignee"}
    allowed = whose.get(verb, "an operator of the environment" if verb == "assign" else "its assignee or an operator")
    raise NotAllowed(f"Only {allowed} may {verb} this incident.", remedies=["Ask an operator to assign it to you."])


def _person(incident: Incident, to: str) -> Principal:
    """The person of that username or id, if the incident may be assigned to them. The same error for everybody else."""
    found = next((p for p in candidates(incident) if to in (p.username, str(p.pk))), None)
    if found is None:
        message = "Name a person of this tenant who may look at this environment."
        raise Invalid(issues=[_issue(message, "assignee")])
    return found


def _via(correlation_id: str) -> dict[str, str]:
    return {"via": correlation_id} if correlation_id else {}


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}
