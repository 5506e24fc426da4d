"""The activity of an action: its audit events in sentences, with private texts that are not erased."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from actions.models import Action
from audit.models import Event, PrivateValue
from tenants.models import Principal

MAX_EVENTS = 200
SYSTEM_ACTORS = {
    "system:decide": "Preflight",
    "system:execute": "Runner",
    "system:sweep": "Sweep",
    "system:notify": "Notifications",
    "system:setup": "Setup",
    "system:incidents": "Incidents",
}

SENTENCES: dict[str, tuple[str, str]] = {
    "action.submitted": ("", "proposed the action"),
    "action.preflight": ("run", "started the dry run"),
    "preflight.planned": ("run", "created plan v{version}: {plan}"),
    "preflight.drifted": ("warn", "found drift: the target changed since planning"),
    "policy.evaluated": ("run", "evaluated it: {tier}, blast radius {blast[score]} of 100"),
    "action.deny": ("bad", "denied it"),
    "action.await_approval": ("hold", "requested {asked}"),
    "action.approve": ("ok", "approved it: no further approval needed"),
    "action.reject": ("bad", "set it to rejected"),
    "action.expire": ("", "set it to expired: not decided in time"),
    "action.cancel": ("", "withdrew it"),
    "action.reopen": ("warn", "requested approval again: {reopened}"),
    "action.start": ("run", "started the run: plan unchanged"),
    "step.started": ("run", "started {step}"),
    "step.done": ("ok", "finished {step}"),
    "step.failed": ("bad", "failed {step}, attempt {attempt}: {code}"),
    "step.skipped": ("warn", "skipped {step} after {code}"),
    "action.fallback_proposed": ("hold", "proposed the fallback action"),
    "action.fallback_refused": ("bad", "could not propose the fallback action: {code}"),
    "step.undo_started": ("warn", "started to undo {step}"),
    "step.undone": ("warn", "undid {step}"),
    "step.undo_failed": ("bad", "could not undo {step}: {code}"),
    "step.resolved": ("hold", "resolved the doubt about {step}"),
    "action.abort_requested": ("bad", "requested abort at the next checkpoint"),
    "action.rollback_requested": ("warn", "requested rollback to just after {back_to}"),
    "risk.spiked": ("bad", "stopped it on a risk spike: {spike}"),
    "run.point_of_no_return_passed": ("run", "passed the point of no return at {step}: all earlier steps checked"),
    "rollback.started": ("warn", "locked its resources again for the undo"),
    "quarantine.set": ("bad", "quarantined {shut}"),
    "action.verify": ("run", "finished all steps and started to verify"),
    "action.complete": ("ok", "completed it: all checks passed"),
    "action.roll_back": ("warn", "started to roll back{stopped_words}"),
    "action.finish_rollback": ("warn", "finished the rollback: previous state restored"),
    "action.hold": ("hold", "held it: {reason}{stopped_words}"),
    "action.resume": ("run", "resumed it"),
    "action.fail": ("bad", "set it to failed"),
    "approval.granted": ("ok", "approved plan {short} as {role}"),
    "approval.refused": ("warn", "was refused: not allowed to {attempted}"),
    "approval.rejected": ("bad", "rejected it"),
    "approval.changes_requested": ("warn", "requested changes as {role}"),
    "approval.change_request_withdrawn": ("", "withdrew the request for changes"),
    "approval.change_request_lapsed": ("", "dropped a request for changes: its author is no longer eligible"),
    "approval.withdrawn": ("warn", "withdrew the approval as {role}"),
    "incident.opened": ("hold", "opened an incident: {ending_text}"),
    "incident.diagnostics_attached": ("", "attached the diagnostics"),
    "incident.assigned": ("", "assigned the incident"),
    "incident.acknowledged": ("ok", "acknowledged the incident"),
    "incident.declined": ("warn", "declined the incident"),
    "incident.escalated": (
        "warn",
        "escalated the incident to role {role}: not acknowledged in time ({people} notified)",
    ),
    "incident.resolved": ("ok", "resolved the incident"),
    "incident.notified": ("", "sent an incident notification by {channel}: {what}"),
    "incident.notification_failed": ("warn", "could not send an incident notification by {channel}: {what}"),
    "incident.resent": ("", "resent an incident notification"),
    "notification.sent": ("", "notified {recipients}: {kind}"),
    "notification.failed": ("warn", "could not notify {recipients}: {kind}"),
    "comment.added": ("", "commented"),
    "comment.resolved": ("", "resolved a comment"),
    "comment.reopened": ("", "reopened a comment"),
    "approval.accepted": ("ok", "accepted the dry-run diff of plan {short}"),
}
"""Verb → hue and sentence; the words in braces are facts. Other events show their verb."""
REOPENED = {
    "drift": "the target drifted; earlier approvals are void",
    "stricter": "the verdict became stricter; earlier approvals are void",
    "lapsed": "an approval no longer counts; earlier approvals are void",
    "withdrawn": "an approval was withdrawn; the others stay valid",
}
STOPPED = {
    "at_checkpoint": ", stopped at a checkpoint",
    "cancelled_attempt": ", after cancelling the attempt that ran",
}
QUOTED = ("comment", "reason", "message", "note")


@dataclass(frozen=True)
class ActivityEntry:
    """One line of the timeline. `quote` is a person's text or an error message; empty once erased."""

    seq: int
    at: datetime
    hue: str
    who: str
    what: str
    quote: str
    verb: str
    artifacts: tuple[str, ...]
    facts: dict[str, Any]


def fetch_activity(action: Action, most: int = MAX_EVENTS) -> list[ActivityEntry]:
    """The newest events of an action, newest first: three queries."""
    newest = Event.objects.filter(subject_kind="action", subject_id=action.pk).order_by("-seq")[:most]
    events = [(e, json.loads(bytes(e.body))) for e in newest]
    said = _private_texts(action.pk, [e.seq for e, _ in events])
    names = actor_names({e.actor for e, _ in events})
    return [_activity_entry(event, body, said, names) for event, body in events]


def actor_names(actors: set[str]) -> dict[str, str]:
    """Display names for actors: people and agents by one query, the system's roles by word."""
    ids = []
    for actor in actors - SYSTEM_ACTORS.keys():
        try:
            ids.append(UUID(actor))
        except ValueError:
            continue
    return {**SYSTEM_ACTORS, **{str(p.pk): str(p) for p in Principal.objects.filter(pk__in=ids)}}


def _private_texts(action_id: UUID, seqs: list[int]) -> dict[tuple[int, str], str]:
    kept = PrivateValue.objects.filter(subject_id=action_id, seq__in=seqs, name__in=QUOTED, value__isnull=False)
    return {(v.seq, v.name): bytes(v.value or b"").decode(errors="replace") for v in kept}


def _activity_entry(
    event: Event, body: dict[str, Any], said: dict[tuple[int, str], str], names: dict[str, str]
) -> ActivityEntry:
    facts = body["facts"]
    hue, sentence = SENTENCES.get(event.verb, ("", event.verb.replace(".", ": ").replace("_", " ")))
    if event.verb == "action.complete" and facts.get("simulated"):
        sentence = "completed the simulation: nothing was changed"
    quote = next((said[event.seq, name] for name in QUOTED if (event.seq, name) in said), "")
    if event.verb == "action.submitted":
        quote = ""  # the reason is shown under the title
    return ActivityEntry(
        seq=event.seq,
        at=event.at,
        hue=hue,
        who=names.get(event.actor, event.actor),
        what=_fill_in(sentence, facts),
        quote=quote,
        verb=event.verb,
        artifacts=tuple(body["artifacts"]),
        facts=facts,
    )


def _fill_in(sentence: str, facts: dict[str, Any]) -> str:
    """Put facts into a sentence; without a fact only the verb phrase remains."""
    extra = {
        "asked": "its requester's acceptance" if facts.get("acceptance") else "approval",
        "short": str(facts.get("digest", ""))[:8],
        "plan": _describe_counts(facts.get("counts", {})),
        "reopened": REOPENED.get(facts.get("because", ""), "earlier approvals are void"),
        "reason": str(facts.get("reason", "")).replace("_", " "),
        "stopped_words": STOPPED.get(facts.get("stopped", ""), ""),
        "spike": _list_names(facts.get("checks")) or "too many attempts failed",
        "shut": _list_names(facts.get("resources")),
        "ending_text": str(facts.get("ending", "")).replace("_", " "),
    }
    try:
        return sentence.format_map({**facts, **extra})
    except (KeyError, IndexError, TypeError):
        return sentence.partition(": {")[0].partition(" {")[0]


def _list_names(found: Any) -> str:
    """Names, or resources by kind and name, the first three of them; empty for anything else."""
    named = found[:3] if isinstance(found, list) else []
    return ", ".join(f"{it['kind']} {it['name']}" if isinstance(it, dict) else str(it) for it in named)


def _describe_counts(counts: dict[str, Any]) -> str:
    parts = [
        f"{counts.get(key, 0)} {word}{'' if counts.get(key) == 1 else 's'}"
        for key, word in (("changes", "change"), ("steps", "step"))
    ]
    return " in ".join(parts)
