"""
Answering to endings: an action that failed or was held gets its ticket, exactly one, whoever looks and however often.

The move that ended or held it left `handoff_seq` on the action, in the same statement. Whoever opens the ticket clears
it in the transaction of the ticket and its event, with the action's row locked: a crash leaves both or neither.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from actions.handoff.outbox import tell
from actions.handoff.rules import first_assignee, rules_of, severity_of
from actions.lifecycle import Note, Write, write
from actions.models import Action, HandoffRule, Ticket
from actions.models.handoff import ENDINGS
from audit.changes.masking import mask
from audit.database.clock import database_time
from audit.models import Event
from tenants.access import who_may
from tenants.models import Principal
from tenants.vault import mask_key

BY = "system:handoff"
BATCH = 50
RESTING = ("failed", "rolled_back")
ENDS = ("action.hold", "action.fail", "action.finish_rollback")
ENDED_WELL = Q(action__state="completed") | (Q(action__state="rolled_back") & ~Q(ending="rolled_back"))
UNRESOLVED = ~Q(state="resolved")
HEAVY = ("parameters", "checks", "result", "reason")
TITLE, MESSAGE = 120, 160  # characters of each in a summary
Told = dict[UUID, dict[str, Any]]


def due() -> QuerySet[Action, Any]:
    """The actions whose last ending nobody has answered to yet."""
    return Action.objects.filter(handoff_seq__isnull=False)


def open_due(limit: int = BATCH) -> int:
    """
    Open the tickets of up to `limit` endings; return how many actions were looked at. A fixed number of statements.

    No ticket is opened where the rule asks for none, where the action has gone on meanwhile, or where a person ended
    it: they know. An older ticket of the same action is resolved by a newer one, which its assignee gets.
    """
    with transaction.atomic():
        found = due().select_for_update(skip_locked=True, of=("self",)).defer(*HEAVY)
        actions = list(found.select_related("environment__tenant", "requester__owner").order_by("pk")[:limit])
        if not actions:
            return 0
        now, bodies = database_time(), _bodies(actions)
        rules = rules_of({a.environment_id: a.environment for a in actions}.values())
        older = _older(actions)
        new = [
            _ticket(a, rules[a.environment_id], bodies[a.pk]["facts"], older.get(a.pk), now)
            for a in actions
            if _wanted(a, rules[a.environment_id], bodies[a.pk])
        ]
        _keep_to_the_entitled(new)
        over = {t.action_id for t in new} | {a.pk for a in actions if a.state == "rolled_back"}
        _store(new, [t for t in older.values() if t.action_id in over], now)
        due().filter(pk__in=[a.pk for a in actions]).update(handoff_seq=None)
    return len(actions)


def settle_finished(limit: int = BATCH) -> int:
    """Resolve the tickets of actions that went on and ended well; return how many."""
    with transaction.atomic():
        over = _finished().values_list("action_id", flat=True).order_by("pk")[:limit]
        ids = list(over)
        if not ids:
            return 0
        list(Action.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk"))
        tickets = list(_finished().filter(action__in=ids).select_related(*JOINED))
        _store([], tickets, database_time())
    return len(tickets)


def finished_wait() -> bool:
    return _finished().exists()


JOINED = ("action__environment__tenant", "action__requester__owner", "assignee")


def _finished() -> QuerySet[Ticket, Any]:
    return Ticket.objects.filter(UNRESOLVED, ENDED_WELL)


def _older(actions: Sequence[Action]) -> dict[UUID, Ticket]:
    """The tickets of these actions that are not resolved yet, by action. One query."""
    mine = {a.pk: a for a in actions}
    found = Ticket.objects.filter(UNRESOLVED, action__in=list(mine)).select_related("assignee")
    for ticket in (tickets := {t.action_id: t for t in found}).values():
        ticket.action = mine[ticket.action_id]
    return tickets


def _bodies(actions: Sequence[Action]) -> Told:
    """The events that ended or held these actions, by action. One query."""
    wanted = {a.pk: a.handoff_seq or 0 for a in actions}
    about = Event.objects.filter(subject_kind="action", subject_id__in=list(wanted), verb__in=ENDS)
    found: Told = {pk: {"actor": BY, "facts": {}} for pk in wanted}
    for pk, seq, body in about.order_by("seq").values_list("subject_id", "seq", "body"):
        if seq <= wanted[pk]:  # what was held before an upgrade is noted by its newest event of any kind
            found[pk] = json.loads(bytes(body))
    return found


def ending_of(action: Action) -> str:
    """A word of ENDINGS for where an action rests; empty where it goes on."""
    if action.state == "held":
        return action.held_reason
    return str(action.state) if action.state in RESTING else ""


def _wanted(action: Action, rule: HandoffRule, body: dict[str, Any]) -> bool:
    ending = ending_of(action)
    if not ending or action.simulated or not str(body["actor"]).startswith("system:"):
        return False
    return ending in rule.endings or (action.state == "held" and ending not in ENDINGS)


def _ticket(action: Action, rule: HandoffRule, facts: dict[str, Any], older: Ticket | None, now: datetime) -> Ticket:
    error, ending = action.error or {}, ending_of(action)
    details = error.get("details") or {}
    impact = facts.get("impact") or {}
    kept = {
        "step": facts.get("step") or details.get("step"),
        "remains": facts.get("remains") or [],
        "checks": details.get("checks") or [],
        "standing": int(impact.get("standing") or 0),
        "roles": sorted({rule.escalate_to, rule.role if rule.to == HandoffRule.To.ROLE else ""} - {""}),
    }
    made = Ticket(
        tenant_id=action.tenant_id,
        environment_id=action.environment_id,
        action=action,
        ending=ending,
        ending_seq=action.handoff_seq or 0,
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
    """One line: what, and what became of it. Whatever looks like a secret is masked."""
    what = {"failed": "failed", "rolled_back": "was rolled back"}.get(
        action.state, f"is held ({action.held_reason.replace('_', ' ')})"
    )
    because = f": {message[:MESSAGE]}" if message else ""
    text = " ".join(f"“{action.title[:TITLE]}” {what}{because}".split())
    return mask(text, mask_key(action.environment.tenant))[:300]


def _keep_to_the_entitled(tickets: Sequence[Ticket]) -> None:
    """Take tickets from whoever may no longer look at them. One query per environment."""
    places = {t.environment_id: t.action.environment for t in tickets}
    for pk, place in places.items():
        here = [t for t in tickets if t.environment_id == pk]
        asked = {t.assignee_id for t in here if t.assignee_id and _is_person(t.assignee)}
        may = who_may("view", place, list(asked)) if asked else set()
        for ticket in here:
            if ticket.assignee_id not in may:
                ticket.assignee, ticket.assigned_at = None, None


def _is_person(principal: Principal | None) -> bool:
    return principal is not None and principal.is_person() and principal.is_active


def _store(new: Sequence[Ticket], over: Sequence[Ticket], now: datetime) -> None:
    """Resolve what is over, keep what is new, and leave the events of both on their actions."""
    notes: dict[UUID, list[Note]] = {}
    actions: dict[UUID, Action] = {}
    newer = {t.action_id for t in new}
    Ticket.objects.filter(pk__in=[t.pk for t in over]).update(state="resolved", resolved_at=now)
    for ticket in over:
        ticket.state, ticket.resolved_at = Ticket.State.RESOLVED, now
        because = "a newer ticket" if ticket.action_id in newer else str(ticket.action.state)
        actions[ticket.action_id] = ticket.action
        notes.setdefault(ticket.action_id, []).append(
            Note("ticket.resolved", {"ticket": str(ticket.pk), "because": because})
        )
    Ticket.objects.bulk_create(new)
    for ticket in new:
        actions[ticket.action_id] = ticket.action
        notes.setdefault(ticket.action_id, []).append(Note("ticket.opened", _facts(ticket)))
    write([Write(actions[pk], by=BY, notes=said) for pk, said in notes.items()])
    tell([(t, "resolved") for t in over], now)


def _facts(ticket: Ticket) -> dict[str, Any]:
    return {
        "ticket": str(ticket.pk),
        "ending": ticket.ending,
        "ending_seq": ticket.ending_seq,
        "code": ticket.code,
        "severity": ticket.severity,
        "assignee": str(ticket.assignee_id) if ticket.assignee_id else None,
    }
