"""Notifications of an incident: Interlock's JSON, issues of GitHub, GitLab and Jira, mails; and their signatures."""

import base64
import hmac
import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from actions.incidents.next_steps import next_steps, step_facts
from actions.models import Incident, Webhook
from audit.changes.masking import visible
from audit.outgoing.webhook import url_fault
from tenants.vault import decrypt, encrypt

FORMAT = "interlock.incident/1"
EVENTS = ("opened", "assigned", "acknowledged", "declined", "resolved", "overdue")
Kind = Webhook.Kind
EVENTS_OF_KIND = {kind: EVENTS if kind in (Kind.GENERIC, Kind.GITHUB_DISPATCH) else ("opened",) for kind in Kind}
"""The events sent to each kind of webhook: an issue tracker gets one issue per incident."""
EVENT_TEXTS = {
    "opened": "is assigned to you",
    "assigned": "is assigned to you",
    "acknowledged": "was acknowledged",
    "declined": "was declined and is unassigned",
    "resolved": "is resolved",
    "overdue": "is overdue: not acknowledged in time",
}


def incident_document(incident: Incident, what: str, at: datetime) -> dict[str, Any]:
    """
    The incident as of an event: nine members, so that GitHub takes it as a client payload (ten at most).

    `action__environment__tenant` and `assignee` must be joined. Links lead to pages and API calls that require sign-in.
    """
    action, place, home = incident.action, incident.action.environment, settings.INTERLOCK.address
    return {
        "format": FORMAT,
        "event": what,
        "at": moment(at),
        "tenant": place.tenant.slug,
        "environment": place.slug,
        "incident": {
            "id": str(incident.pk),
            "url": f"{home}/incidents/{incident.pk}/",
            "state": str(incident.state),
            "severity": incident.severity,
            "ending": incident.ending,
            "code": incident.code,
            "summary": incident.summary,
            "assignee": incident.assignee.username if incident.assignee else None,
            "opened_at": moment(incident.opened_at),
            "due_at": moment(incident.due_at) if incident.due_at else None,
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
            "diagnostics_sha256": incident.evidence or None,
            "diagnostics_url": f"{home}/api/incidents/{incident.pk}/diagnostics",
            "pack_url": f"{home}/api/actions/{action.pk}/evidence",
        },
        "next_steps": step_facts(next_steps(incident, action, place.slug)),
    }


def webhook_body(kind: str, incident: Incident, what: str, at: datetime) -> str:
    """The exact body for a webhook of this kind."""
    message = incident_document(incident, what, at)
    shaped = SHAPES[Kind(kind)](message)
    return json.dumps(shaped, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _dispatch(message: dict[str, Any]) -> dict[str, Any]:
    return {"event_type": f"interlock-incident-{message['event']}", "client_payload": message}


def _github(message: dict[str, Any]) -> dict[str, Any]:
    return {"title": title_of(message), "body": markdown(message), "labels": labels(message)}


def _gitlab(message: dict[str, Any]) -> dict[str, Any]:
    return {"title": title_of(message), "description": markdown(message), "labels": ",".join(labels(message))}


def _jira(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": title_of(message),
        "description": markdown(message),
        "labels": labels(message),
        "interlock": message,
    }


SHAPES = {
    Kind.GENERIC: lambda message: message,
    Kind.GITHUB_DISPATCH: _dispatch,
    Kind.GITHUB_ISSUE: _github,
    Kind.GITLAB_ISSUE: _gitlab,
    Kind.JIRA: _jira,
}


def title_of(message: dict[str, Any]) -> str:
    return f"[{message['environment']}] {plain(message['incident']['summary'])}"[:250]


def labels(message: dict[str, Any]) -> list[str]:
    return ["interlock", f"severity-{message['incident']['severity']}", f"environment-{message['environment']}"]


def markdown(message: dict[str, Any]) -> str:
    """The issue's text. Texts of people and targets are in code, where they can neither mention people nor format."""
    incident, action, evidence = message["incident"], message["action"], message["evidence"]
    code = f", code `{in_code(incident['code'])}`" if incident["code"] else ""
    lines = [
        f"    {plain(incident['summary'])}",
        "",
        f"- Incident: {incident['url']} (severity {incident['severity']})",
        f"- Action: {action['url']} (`{action['type']}`, {action['state'].replace('_', ' ')})",
        f"- Ending: `{incident['ending']}`{code}",
        f"- Evidence: {evidence['pack_url']}",
        f"- Diagnostics: {evidence['diagnostics_url']} (SHA-256 `{evidence['diagnostics_sha256'] or 'not gathered'}`)",
        "",
        "Next steps:",
        "",
        *(f"1. {step['title']}: {in_text(step['why'])}" for step in message["next_steps"]),
    ]
    return "\n".join(lines)


def plain(text: str) -> str:
    return " ".join(visible(text).split())


def in_code(text: str) -> str:
    return plain(text).replace("`", "'")


def in_text(text: str) -> str:
    """Escape a text that contains a target's words (a step's name), so that an issue tracker does not act on it."""
    return "".join(f"\\{c}" if c in "@#`[]()!<>*_~|" else c for c in plain(text))


def mail_text(incident: Incident, what: str) -> str:
    """A mail: the subject, an empty line, the text."""
    place = incident.action.environment
    name = plain(incident.summary)
    proposals = [f"- {s.title}. {plain(s.why)}" for s in next_steps(incident, incident.action, place.slug)]
    due = [f"Please acknowledge it by {incident.due_at:%Y-%m-%d %H:%M} UTC, or decline it."] if incident.due_at else []
    lines = [
        f"[{place.tenant.name}] {place.name}: {name}"[:250],
        "",
        f"{name}",
        "",
        f"This incident {EVENT_TEXTS[what]}. Severity: {incident.severity}.",
        *(due if what in ("opened", "assigned") else []),
        "",
        "Next steps:",
        *proposals,
        "",
        f"{settings.INTERLOCK.address}/incidents/{incident.pk}/",
    ]
    return "\n".join(lines)


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# A webhook's address, secret and token, encrypted under the tenant's key; and signatures.


MIN_SECRET = 16
MAX_CHARACTERS = 2_000


def store_secrets(hook: Webhook, url: str, secret: str = "", token: str = "") -> None:
    """Store these in the webhook, encrypted for it alone; the caller saves it."""
    hidden = json.dumps({"url": url, "secret": secret, "token": token}).encode()
    hook.hidden = encrypt(hook.tenant_id, hidden, _context(hook))
    hook.host = (urlsplit(url).hostname or "")[:255]


def decrypt_secrets(hook: Webhook) -> dict[str, str]:
    """{"url", "secret", "token"} in the clear. Raises what `tenants.vault.decrypt` raises."""
    if not hook.hidden:
        return {"url": "", "secret": "", "token": ""}
    found: dict[str, str] = json.loads(decrypt(hook.tenant_id, bytes(hook.hidden), _context(hook)))
    return found


def check_webhook(kind: str, url: str, secret: str, token: str) -> tuple[str, str]:
    """(field, error message); two empty texts if the webhook is valid. Pure."""
    if fault := url_fault(url):
        return "url", fault
    for name, text in (("url", url), ("secret", secret), ("token", token)):
        if len(text) > MAX_CHARACTERS or not text.isprintable() or not text.isascii():
            return name, f"Use printable ASCII, {MAX_CHARACTERS} characters at most."
    if kind == Kind.GENERIC and len(secret) < MIN_SECRET:
        return "secret", f"Messages are signed: give a secret of {MIN_SECRET} characters or more."
    if kind in (Kind.GITHUB_DISPATCH, Kind.GITHUB_ISSUE, Kind.GITLAB_ISSUE) and not token:
        return "token", "GitHub and GitLab require a token with write access."
    return "", ""


def webhook_headers(hook: Webhook, hidden: dict[str, str], delivery: str, body: bytes, at_s: int) -> dict[str, str]:
    """
    The headers of one message: user agent, id (the same for every retry), and signatures.

    `webhook-*` are those of the Standard Webhooks specification, HMAC-SHA256 over "id.time.body"; `X-Hub-Signature-256`
    is GitHub's, over the body alone. Tokens go into the header that each tracker reads.
    """
    sent = {"Content-Type": "application/json; charset=utf-8", "X-Interlock-Delivery": delivery}
    if secret := hidden["secret"]:
        key, stamp = secret.encode(), str(at_s)
        signed = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, sha256).digest()
        sent |= {
            "webhook-id": delivery,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
            "X-Hub-Signature-256": f"sha256={hmac.new(key, body, sha256).hexdigest()}",
        }
    return sent | _token(hook.kind, hidden["token"])


def _token(kind: str, token: str) -> dict[str, str]:
    if not token:
        return {}
    if kind in (Kind.GITHUB_DISPATCH, Kind.GITHUB_ISSUE):
        version = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return {"Authorization": f"Bearer {token}", **version}
    if kind == Kind.GITLAB_ISSUE:
        return {"PRIVATE-TOKEN": token}
    return {"X-Automation-Webhook-Token": token} if kind == Kind.JIRA else {"Authorization": f"Bearer {token}"}


def _context(hook: Webhook) -> str:
    return f"webhook {hook.pk}"
