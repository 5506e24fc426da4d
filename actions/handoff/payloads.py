"""What is sent about a ticket: Interlock's own JSON, the shapes that GitHub, GitLab and Jira take, and mails. Pure."""

import json
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from actions.handoff.next_steps import as_facts, next_steps
from actions.models import Ticket, Webhook
from audit.changes.visible import visible

FORMAT = "interlock.ticket/1"
EVENTS = ("opened", "assigned", "acknowledged", "declined", "resolved", "overdue")
K = Webhook.Kind
TAKES = {kind: EVENTS if kind in (K.GENERIC, K.GITHUB_DISPATCH) else ("opened",) for kind in K}
"""Which events a kind takes: an issue tracker gets one issue per ticket."""
SAID = {
    "opened": "is handed to you",
    "assigned": "is handed to you",
    "acknowledged": "was acknowledged",
    "declined": "was declined: nobody has it",
    "resolved": "is resolved",
    "overdue": "waits: nobody has acknowledged it in time",
}


def document(ticket: Ticket, what: str, at: datetime) -> dict[str, Any]:
    """
    The ticket as of an event: nine members, so that GitHub takes it as a client payload (ten at most).

    `action__environment__tenant` and `assignee` must be joined. Links lead to pages and calls that ask who is there.
    """
    action, place, home = ticket.action, ticket.action.environment, settings.INTERLOCK.address
    return {
        "format": FORMAT,
        "event": what,
        "at": moment(at),
        "tenant": place.tenant.slug,
        "environment": place.slug,
        "ticket": {
            "id": str(ticket.pk),
            "url": f"{home}/handoff/{ticket.pk}/",
            "state": str(ticket.state),
            "severity": ticket.severity,
            "ending": ticket.ending,
            "code": ticket.code,
            "summary": ticket.summary,
            "assignee": ticket.assignee.username if ticket.assignee else None,
            "opened_at": moment(ticket.opened_at),
            "due_at": moment(ticket.due_at) if ticket.due_at else None,
        },
        "action": {
            "id": str(action.pk),
            "url": f"{home}/actions/{action.pk}/",
            "title": action.title,
            "type": action.type,
            "state": str(action.state),
            "held_reason": action.held_reason or None,
            "ticket": action.ticket or None,
            "correlation_id": action.correlation_id,
        },
        "evidence": {
            "diagnostics_sha256": ticket.evidence or None,
            "diagnostics_url": f"{home}/api/tickets/{ticket.pk}/diagnostics",
            "pack_url": f"{home}/api/actions/{action.pk}/evidence",
        },
        "next_steps": as_facts(next_steps(ticket, action, place.slug)),
    }


def body_of(kind: str, ticket: Ticket, what: str, at: datetime) -> str:
    """The exact text that a webhook of this kind is sent."""
    told = document(ticket, what, at)
    shaped = SHAPES[K(kind)](told)
    return json.dumps(shaped, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _dispatch(told: dict[str, Any]) -> dict[str, Any]:
    return {"event_type": f"interlock-ticket-{told['event']}", "client_payload": told}


def _github(told: dict[str, Any]) -> dict[str, Any]:
    return {"title": title_of(told), "body": markdown(told), "labels": labels(told)}


def _gitlab(told: dict[str, Any]) -> dict[str, Any]:
    return {"title": title_of(told), "description": markdown(told), "labels": ",".join(labels(told))}


def _jira(told: dict[str, Any]) -> dict[str, Any]:
    return {"summary": title_of(told), "description": markdown(told), "labels": labels(told), "interlock": told}


SHAPES = {
    K.GENERIC: lambda told: told,
    K.GITHUB_DISPATCH: _dispatch,
    K.GITHUB_ISSUE: _github,
    K.GITLAB_ISSUE: _gitlab,
    K.JIRA: _jira,
}


def title_of(told: dict[str, Any]) -> str:
    return f"[{told['environment']}] {plain(told['ticket']['summary'])}"[:250]


def labels(told: dict[str, Any]) -> list[str]:
    return ["interlock", f"severity-{told['ticket']['severity']}", f"environment-{told['environment']}"]


def markdown(told: dict[str, Any]) -> str:
    """The issue's text. What people or targets wrote stands in code, where it can neither call people nor draw."""
    ticket, action, evidence = told["ticket"], told["action"], told["evidence"]
    code = f", code `{in_code(ticket['code'])}`" if ticket["code"] else ""
    lines = [
        f"    {plain(ticket['summary'])}",
        "",
        f"- Ticket: {ticket['url']} (severity {ticket['severity']})",
        f"- Action: {action['url']} (`{action['type']}`, {action['state'].replace('_', ' ')})",
        f"- Ending: `{ticket['ending']}`{code}",
        f"- Evidence: {evidence['pack_url']}",
        f"- Diagnostics: {evidence['diagnostics_url']} (SHA-256 `{evidence['diagnostics_sha256'] or 'not gathered'}`)",
        "",
        "What to do next:",
        "",
        *(f"1. {step['title']}: {in_text(step['why'])}" for step in told["next_steps"]),
    ]
    return "\n".join(lines)


def plain(text: str) -> str:
    return " ".join(visible(text).split())


def in_code(text: str) -> str:
    return plain(text).replace("`", "'")


def in_text(text: str) -> str:
    """Words of ours with a target's in them (a step's name): nothing that an issue tracker would act upon."""
    return "".join(f"\\{c}" if c in "@#`[]()!<>*_~|" else c for c in plain(text))


def mail_of(ticket: Ticket, what: str) -> str:
    """A mail: the subject, an empty line, the text."""
    place = ticket.action.environment
    name = plain(ticket.summary)
    proposals = [f"- {s.title}. {plain(s.why)}" for s in next_steps(ticket, ticket.action, place.slug)]
    due = [f"Please acknowledge it by {ticket.due_at:%Y-%m-%d %H:%M} UTC, or decline it."] if ticket.due_at else []
    lines = [
        f"[{place.tenant.name}] {place.name}: {name}"[:250],
        "",
        f"{name}",
        "",
        f"This ticket {SAID[what]}. Severity: {ticket.severity}.",
        *(due if what in ("opened", "assigned") else []),
        "",
        "What to do next:",
        *proposals,
        "",
        f"{settings.INTERLOCK.address}/handoff/{ticket.pk}/",
    ]
    return "\n".join(lines)


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
