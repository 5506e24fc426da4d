"""What receivers get of an event: a CloudEvent, a line of JSON, a line of syslog. Pure.

An event is told as it was hashed: SHA-256 over the canonical JSON (RFC 8785) of `data`, or of `event`, is `hash`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from audit.canonical import canonical

FACILITY = 13
"""RFC 5424: log audit."""
NOTICE, WARNING = 5, 4
ENTERPRISE = "interlock@32473"


@dataclass(frozen=True)
class Sent:
    """One sealed event: its place in the tenant's log, the bytes that were hashed, and their hash."""

    log_index: int
    body: bytes
    hash: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def cloud_events(tenant: UUID, batch: Sequence[Sent]) -> bytes:
    """A batch in the JSON format of CloudEvents 1.0 (application/cloudevents-batch+json)."""
    return canonical([_cloud_event(tenant, sent) for sent in batch])


def _cloud_event(tenant: UUID, sent: Sent) -> dict[str, Any]:
    event = sent.event
    subject = event["subject"]
    return {
        "specversion": "1.0",
        "id": f"{subject['id']}:{event['seq']}",
        "source": f"urn:interlock:tenant:{tenant}",
        "type": f"interlock.{event['verb']}",
        "subject": f"{subject['kind']}/{subject['id']}",
        "time": event["at"],
        "datacontenttype": "application/json",
        "logindex": str(sent.log_index),
        "hash": sent.hash.hex(),
        "data": event,
    }


def json_line(sent: Sent) -> bytes:
    """One line of a file: the event's own bytes, its place in the log and its hash."""
    return b'{"log_index":%d,"hash":"%s","event":%s}\n' % (sent.log_index, sent.hash.hex().encode(), sent.body)


def syslog_line(sent: Sent, host: str) -> bytes:
    """One message of RFC 5424: who did what to what in structured data, and the verb in words."""
    event = sent.event
    subject = event["subject"]
    severity = NOTICE if event["outcome"] == "ok" else WARNING
    data = {
        "tenant": event["tenant"],
        "subject": f"{subject['kind']}/{subject['id']}",
        "seq": event["seq"],
        "logIndex": sent.log_index,
        "actor": event["actor"],
        "outcome": event["outcome"],
        "correlation": event["correlation_id"],
        "hash": sent.hash.hex(),
    }
    pairs = " ".join(f'{name}="{_value(value)}"' for name, value in data.items())
    at = datetime.fromisoformat(event["at"]).astimezone(UTC).isoformat(timespec="microseconds")
    when, kind = at.replace("+00:00", "Z"), _name(event["verb"])[:32]
    head = f"<{FACILITY * 8 + severity}>1 {when} {_name(host)} interlock - {kind}"
    return f"{head} [{ENTERPRISE} {pairs}] \ufeff{event['verb']} by {event['actor']}: {event['outcome']}".encode()


def _value(value: Any) -> str:
    """A parameter's value: backslash, quote and bracket escaped, and nothing that a terminal would act on."""
    text = "".join(c if c.isprintable() else "�" for c in str(value))
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _name(text: str) -> str:
    """A name as RFC 5424 wants it: visible ASCII, no space."""
    return "".join(c if 33 <= ord(c) <= 126 else "?" for c in text)[:255] or "-"
