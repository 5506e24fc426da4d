"""Collect diagnostics of a failure, attach them to the incident as evidence, and notify."""

import json
import socket
import threading
import time
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from actions.incidents.delivery import enqueue_mails, enqueue_webhooks
from actions.incidents.next_steps import next_steps, step_facts
from actions.incidents.open import ACTOR, people_with_role, rules_of
from actions.lifecycle.commit import commit
from actions.lifecycle.context import target_of
from actions.lifecycle.journal import Journal
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action, Incident, IncidentRule, JournalEntry, Quarantine, ResourceLock
from actions.preflight.plan import sanitize
from actions.types.collect_diagnostics.executor import NEED_ROOT, SECTIONS, fit_to_limit
from actions.types.protocol import StepContext, Target
from audit.changes.masking import mask
from audit.database.clock import database_time
from audit.log.artifacts import pack_artifact
from audit.log.canonical_json import canonical
from audit.models import Event
from tenants.vault import mask_key

FORMAT = "interlock.diagnostics/1"
MAX_EVENTS, MAX_LINES, MAX_STEPS, MAX_NAMED = 60, 200, 200, 50
MAX_CHECKPOINTS = 50_000
LINES_OF = 40
"""How many journal entries the log tail covers."""
UNREMARKABLE = ("done", "pending", "undone")
"""Steps in these states are counted, and listed only if there are few steps."""


def collect_diagnostics(incident: Incident) -> bytes:
    """
    The document as canonical JSON. Nine queries, and seconds of reading the machine: outside any transaction.

    Probable secrets are masked.
    """
    joined = Action.objects.select_related("environment__tenant", "plan", "requester")
    action = joined.defer("parameters", "reason").get(pk=incident.action_id)
    key = mask_key(action.environment.tenant)
    document = {
        "format": FORMAT,
        "incident": {
            "id": str(incident.pk),
            "ending": incident.ending,
            "ending_seq": incident.ending_seq,
            "code": incident.code,
            "severity": incident.severity,
            "facts": incident.facts,
        },
        "action": _action(action),
        "steps": _steps(action),
        "events": _events(action),
        "log_tail": _tail(action),
        "resources": _resources(action),
        "next_steps": step_facts(next_steps(incident, action, action.environment.slug)),
        "host": host_facts(target_of(action)),
    }
    return canonical(masked(sanitize(document), key))


def masked(value: Any, key: bytes) -> Any:
    """The same, with probable secrets masked in every text."""
    if isinstance(value, str):
        return mask(value, key)
    if isinstance(value, dict):
        return {name: masked(inner, key) for name, inner in value.items()}
    return [masked(inner, key) for inner in value] if isinstance(value, list) else value


def _action(action: Action) -> dict[str, Any]:
    return {
        "id": str(action.pk),
        "type": action.type,
        "title": action.title,
        "environment": action.environment.slug,
        "target": action.target,
        "state": str(action.state),
        "held_reason": action.held_reason,
        "seq": action.seq,
        "error": action.error,
        "correlation_id": action.correlation_id,
        "timeout_s": action.timeout_s,
        "plan": action.plan.digest if action.plan else None,
        "progress": {"done": action.steps_done, "total": action.steps_total},
        "times": {
            name: at.isoformat() if (at := getattr(action, name)) else None
            for name in ("created_at", "approved_at", "started_at", "completed_at", "stop_requested_at")
        },
    }


def _steps(action: Action) -> dict[str, Any]:
    """Counts of steps by state, and the facts of each that is not done, undone or pending."""
    lines = JournalEntry.objects.filter(action=action).order_by("id")
    few = lines.values("step", "attempt", "kind", "at", "facts")[:MAX_CHECKPOINTS]
    journal = Journal.of(JournalEntry(**line) for line in few)
    planned = action.plan.steps if action.plan else []
    counts: dict[str, int] = {}
    named = []
    for step in planned:
        record = journal[step["key"]]
        counts[record.state] = counts.get(record.state, 0) + 1
        if record.state not in UNREMARKABLE or len(planned) <= MAX_NAMED:
            named.append(
                {
                    "key": step["key"],
                    "title": step.get("title", ""),
                    "target": step.get("target", ""),
                    "state": record.state,
                    "attempts": record.attempt,
                    "undo_attempts": record.undo_attempt,
                    "effect_stands": record.effect,
                    "compensation": step.get("compensation", {}).get("kind", ""),
                    "facts": record.facts,
                }
            )
    return {"counts": counts, "named": named[:MAX_STEPS], "left_off": max(0, len(named) - MAX_STEPS)}


def _events(action: Action) -> list[dict[str, Any]]:
    """The newest events, oldest first, without private texts."""
    rows = Event.objects.filter(subject_kind="action", subject_id=action.pk).order_by("-seq")[:MAX_EVENTS]
    return [
        {name: body[name] for name in ("seq", "verb", "outcome", "actor", "at", "facts")}
        for body in reversed([json.loads(bytes(row.body)) for row in rows])
    ]


def _tail(action: Action) -> list[str]:
    logged = JournalEntry.objects.filter(action=action).exclude(log="").order_by("-id")
    rows = list(logged.values_list("step", "attempt", "log")[:LINES_OF])
    lines = [f"{step} #{attempt}: {line}" for step, attempt, log in reversed(rows) for line in log.splitlines()]
    return lines[-MAX_LINES:]


def _resources(action: Action) -> dict[str, Any]:
    """The resource locks and quarantines of the action."""
    locks = ResourceLock.objects.filter(action=action, held=True).order_by("kind", "name")
    quarantined = Quarantine.objects.filter(action=action, cleared_at=None).order_by("kind", "name")
    pairs = {"held": locks, "quarantined": quarantined}
    return {
        name: [{"kind": kind, "name": it} for kind, it in rows.values_list("kind", "name")[:MAX_NAMED]]
        for name, rows in pairs.items()
    }


# Facts of the machine and the environment, by the readers of the action type `collect_diagnostics`.


READ_SECTIONS = ("disk", "load", "memory", "uptime", "processes", "sockets", "files")
READ_TIMEOUT_S = 6.0


def host_facts(target: Target, patience_s: float = READ_TIMEOUT_S) -> dict[str, Any]:
    """
    {"machine", "sections": {name: data}} of this machine; a section that cannot be read says why.

    A hanging file system must not block the worker: a section that takes too long is omitted, and its thread abandoned.
    """
    found: dict[str, Any] = {}
    until = time.monotonic() + patience_s
    ctx = StepContext(
        target=target,
        step={},
        parameters={},
        idempotency_key="",
        deadline=until,
        stopping=lambda: time.monotonic() > until,
    )
    wanted = [name for name in READ_SECTIONS if target.root is not None or name not in NEED_ROOT]
    thread = threading.Thread(target=_read, args=(ctx, wanted, found), name="interlock-diagnostics", daemon=True)
    thread.start()
    thread.join(patience_s)
    sections = {name: found.get(name, {"problem": "not read in time"}) for name in wanted}
    return {"machine": socket.gethostname(), "node": target.node, "sections": sections}


def _read(ctx: StepContext, wanted: list[str], into: dict[str, Any]) -> None:
    for name in wanted:
        try:
            into[name] = fit_to_limit(sanitize(SECTIONS[name][1](ctx)))
        except Exception as error:  # a machine in trouble may raise anything: the diagnostics say so
            into[name] = {"problem": f"{type(error).__name__}: {error}"[:300]}


# Collect diagnostics of open incidents, attach them as evidence, then notify.


log = structlog.get_logger(__name__)
JOINED = ("action__environment__tenant", "action__requester__owner", "assignee")


def without_diagnostics() -> QuerySet[Incident]:
    return Incident.objects.filter(gathered_at__isnull=True)


def attach_due(limit: int = 5) -> int:
    """Collect diagnostics for up to `limit` incidents, oldest first; return how many. Two workers keep one result."""
    incidents = list(without_diagnostics().order_by("pk")[:limit])
    for incident in incidents:
        _attach(incident, _collect(incident))
    return len(incidents)


def _collect(incident: Incident) -> bytes:
    try:
        return collect_diagnostics(incident)
    except Exception as error:  # an incident without diagnostics is better than none
        log.exception("diagnostics_not_gathered", incident=str(incident.pk))
        problem = f"{type(error).__name__}: the log of the workers has the details."
        return canonical({"format": FORMAT, "incident": {"id": str(incident.pk)}, "problem": problem})


def _attach(incident: Incident, document: bytes) -> None:
    """Store the document, its event and the notifications in one transaction, unless another worker did."""
    pack = pack_artifact(incident.tenant_id, document, "application/json")
    with transaction.atomic():
        action = Action.objects.select_for_update().get(pk=incident.action_id)
        if not without_diagnostics().filter(pk=incident.pk).update(gathered_at=Now(), evidence=pack.digest):
            return
        known = Note(
            "incident.diagnostics_attached",
            {"incident": str(incident.pk), "bytes": len(document)},
            artifacts=(pack.digest,),
        )
        commit([Transition(action, by=ACTOR, notes=[known], packs=[pack])])
        now = Incident.objects.select_related(*JOINED).get(pk=incident.pk)
        if now.state != Incident.State.RESOLVED:
            notify_opened(now)


def notify_opened(incident: Incident) -> None:
    """Notify the assignee, or the people of its role if unassigned, and every webhook. Inside a transaction."""
    at, place = database_time(), incident.action.environment
    rule = rules_of([place])[place.pk]
    people = [incident.assignee] if incident.assignee else []
    if not people:
        role = rule.role if rule.to == IncidentRule.To.ROLE else rule.escalate_to
        people = people_with_role(role, place)
    enqueue_mails(incident, "opened", people, at)
    enqueue_webhooks([(incident, "opened")], at)
