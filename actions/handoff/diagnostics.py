"""What is known about a failure, in one document: the last events, the steps, the log's tail, claims, the machine."""

import json
from typing import Any

from actions.case import target_of
from actions.handoff.host import host_facts
from actions.handoff.next_steps import as_facts, next_steps
from actions.ledger import Ledger
from actions.models import Action, Checkpoint, Quarantine, ResourceClaim, Ticket
from actions.storable import storable
from audit.changes.masking import mask
from audit.log.canonical_json import canonical
from audit.models import Event
from tenants.vault import mask_key

FORMAT = "interlock.diagnostics/1"
MOST_EVENTS, MOST_LINES, MOST_STEPS, MOST_NAMED = 60, 200, 200, 50
MOST_CHECKPOINTS = 50_000
LINES_OF = 40
"""Ledger lines whose logs make the tail."""
QUIET = ("done", "pending", "undone")
"""States of steps that are counted, and only named where there are few."""


def diagnostics_of(ticket: Ticket) -> bytes:
    """The document as canonical JSON. Nine queries, and seconds of reading the machine: outside any transaction.

    Whatever in it looks like a secret is masked.
    """
    joined = Action.objects.select_related("environment__tenant", "plan", "requester")
    action = joined.defer("parameters", "reason").get(pk=ticket.action_id)
    key = mask_key(action.environment.tenant)
    document = {
        "format": FORMAT,
        "ticket": {
            "id": str(ticket.pk),
            "ending": ticket.ending,
            "ending_seq": ticket.ending_seq,
            "code": ticket.code,
            "severity": ticket.severity,
            "facts": ticket.facts,
        },
        "action": _action(action),
        "steps": _steps(action),
        "events": _events(action),
        "log_tail": _tail(action),
        "resources": _resources(action),
        "next_steps": as_facts(next_steps(ticket, action, action.environment.slug)),
        "host": host_facts(target_of(action)),
    }
    return canonical(masked(storable(document), key))


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
    """How many steps are in which state, and each that is not simply done, undone or pending, with its facts."""
    lines = Checkpoint.objects.filter(action=action).order_by("id")
    few = lines.values("step", "attempt", "kind", "at", "facts")[:MOST_CHECKPOINTS]
    ledger = Ledger.of(Checkpoint(**line) for line in few)
    planned = action.plan.steps if action.plan else []
    counts: dict[str, int] = {}
    named = []
    for step in planned:
        record = ledger[step["key"]]
        counts[record.state] = counts.get(record.state, 0) + 1
        if record.state not in QUIET or len(planned) <= MOST_NAMED:
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
    return {"counts": counts, "named": named[:MOST_STEPS], "left_off": max(0, len(named) - MOST_STEPS)}


def _events(action: Action) -> list[dict[str, Any]]:
    """The newest events, oldest first, without anybody's words: those are private values."""
    rows = Event.objects.filter(subject_kind="action", subject_id=action.pk).order_by("-seq")[:MOST_EVENTS]
    return [
        {name: body[name] for name in ("seq", "verb", "outcome", "actor", "at", "facts")}
        for body in reversed([json.loads(bytes(row.body)) for row in rows])
    ]


def _tail(action: Action) -> list[str]:
    logged = Checkpoint.objects.filter(action=action).exclude(log="").order_by("-id")
    rows = list(logged.values_list("step", "attempt", "log")[:LINES_OF])
    lines = [f"{step} #{attempt}: {line}" for step, attempt, log in reversed(rows) for line in log.splitlines()]
    return lines[-MOST_LINES:]


def _resources(action: Action) -> dict[str, Any]:
    """What it still has for itself, and what nobody may touch because of it."""
    claims = ResourceClaim.objects.filter(action=action, held=True).order_by("kind", "name")
    shut = Quarantine.objects.filter(action=action, cleared_at=None).order_by("kind", "name")
    pairs = {"held": claims, "quarantined": shut}
    return {
        name: [{"kind": kind, "name": it} for kind, it in rows.values_list("kind", "name")[:MOST_NAMED]]
        for name, rows in pairs.items()
    }
