"""Formats of an event for receivers, webhook secrets, and how a batch reaches its receiver."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import socket
import ssl
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from audit.log.canonical_json import canonical
from audit.models.auditor import Stream
from audit.outgoing.webhook import (
    AddressRefused,
    DeliveryFailed,
    create_checked_connection,
    guarded,
    post,
    refusal_reason,
    url_fault,
)
from audit.seals import installation_key as installation

FACILITY = 13
"""RFC 5424: log audit."""
NOTICE, WARNING = 5, 4
ENTERPRISE = "interlock@32473"


@dataclass(frozen=True)
class SealedEvent:
    """One sealed event: its place in the tenant's log, the bytes that were hashed, and their hash."""

    log_index: int
    body: bytes
    hash: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def cloud_events(tenant: UUID, batch: Sequence[SealedEvent]) -> bytes:
    """A batch in the JSON format of CloudEvents 1.0 (application/cloudevents-batch+json)."""
    return canonical([_cloud_event(tenant, sent) for sent in batch])


def _cloud_event(tenant: UUID, sent: SealedEvent) -> dict[str, Any]:
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


def json_line(sent: SealedEvent) -> bytes:
    """One line of a file: the event's own bytes, its place in the log and its hash."""
    return b'{"log_index":%d,"hash":"%s","event":%s}\n' % (sent.log_index, sent.hash.hex().encode(), sent.body)


def syslog_line(sent: SealedEvent, host: str) -> bytes:
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
    pairs = " ".join(f'{name}="{_syslog_value(value)}"' for name, value in data.items())
    at = datetime.fromisoformat(event["at"]).astimezone(UTC).isoformat(timespec="microseconds")
    when, kind = at.replace("+00:00", "Z"), _syslog_name(event["verb"])[:32]
    head = f"<{FACILITY * 8 + severity}>1 {when} {_syslog_name(host)} interlock - {kind}"
    return f"{head} [{ENTERPRISE} {pairs}] \ufeff{event['verb']} by {event['actor']}: {event['outcome']}".encode()


def _syslog_value(value: Any) -> str:
    """A parameter's value: backslash, quote and bracket escaped, and nothing that a terminal would act on."""
    text = "".join(c if c.isprintable() else "�" for c in str(value))
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _syslog_name(text: str) -> str:
    """A name as RFC 5424 wants it: visible ASCII, no space."""
    return "".join(c if 33 <= ord(c) <= 126 else "?" for c in text)[:255] or "-"


# The secrets that webhooks are signed with: made here, shown once, kept under the installation's key.


PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret(stream: Stream) -> str:
    """Give a stream a new secret, wrapped for it alone; return it as the receiver wants it. The caller saves."""
    secret = secrets.token_bytes(SECRET_BYTES)
    stream.secret = installation.wrap(secret, _wrapping_context(stream), installation.keks()[0])
    return PREFIX + base64.b64encode(secret).decode()


def read_secret(stream: Stream) -> bytes:
    """The secret in the clear. Raises MissingKey, Undecryptable."""
    return installation.unwrap(bytes(stream.secret or b""), _wrapping_context(stream), tuple(installation.keks()))


def rewrap_secrets(kek: bytes) -> int:
    """Wrap under `kek` what is not yet; return how many that were. In the caller's transaction."""
    rows = Stream.objects.select_for_update().exclude(secret=None)
    behind = [row for row in rows if not installation.is_under(bytes(row.secret or b""), kek)]
    for row in behind:
        row.secret = installation.wrap(read_secret(row), _wrapping_context(row), kek)
    Stream.objects.bulk_update(behind, ["secret"])
    return len(behind)


def _wrapping_context(stream: Stream) -> bytes:
    return b"stream" + stream.tenant.bytes + stream.pk.bytes


# How a batch reaches its receiver. Each raises NotTaken where it does not; one that was taken may be sent again.


CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
MAX_DATAGRAM_BYTES = 60_000


def address_fault(kind: str, address: str) -> str:
    """Return why nothing can be sent there; empty when it can. Pure."""
    if kind == Stream.Kind.FILE:
        return "A file needs no address; its name is the stream's name." if address else ""
    if kind == Stream.Kind.WEBHOOK:
        return url_fault(address)
    try:
        parts = urlsplit(address)
        is_fine = parts.scheme in PORTS and bool(parts.hostname) and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        is_fine = False
    return "" if is_fine else "Write tls://host:port, tcp://host:port or udp://host:port."


def webhook_signature(secret: bytes, message_id: str, at: int, body: bytes) -> str:
    """The `webhook-signature` of Standard Webhooks: HMAC-SHA256 over id, Unix time and body."""
    told = b".".join([message_id.encode(), str(at).encode(), body])
    return "v1," + base64.b64encode(hmac.new(secret, told, hashlib.sha256).digest()).decode()


def send_webhook(stream: Stream, secret: bytes, batch: Sequence[SealedEvent], at: int) -> None:
    """POST a batch of CloudEvents, signed. The id is the same whenever the same batch is sent again."""
    body = cloud_events(stream.tenant, batch)
    message_id = f"{stream.pk}:{batch[0].log_index}-{batch[-1].log_index}"
    headers = {
        "Content-Type": "application/cloudevents-batch+json; charset=utf-8",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": webhook_signature(secret, message_id, at, body),
    }
    post(stream.address, body, headers, allow_private=stream.allow_private)


def stream_file(tenant: UUID, name: str) -> Path:
    return Path(settings.INTERLOCK.var) / "streams" / str(tenant) / f"{name}.jsonl"


def append_lines(stream: Stream, batch: Sequence[SealedEvent]) -> int:
    """
    Append a batch to the stream's file, on disk before this returns; return where the file ends now.

    What lies behind the known end was written by a worker that died before it could say so: it is written again in its
    place, so that no line is there twice. A file that is shorter was moved away or emptied: then its end is its start.
    """
    path = stream_file(stream.tenant, stream.name)
    lines = b"".join(json_line(sent) for sent in batch)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(fd).st_size
            start = stream.offset if size >= stream.offset else size
            os.ftruncate(fd, start)
            os.lseek(fd, start, os.SEEK_SET)
            left = memoryview(lines)
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise DeliveryFailed(f"{path.name}: {error.strerror or error}") from error
    return start + len(lines)


def send_syslog(stream: Stream, batch: Sequence[SealedEvent]) -> None:
    """Send each event as one message: framed by octet counting over TCP and TLS (RFC 6587), a datagram over UDP."""
    parts = urlsplit(stream.address)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    lines = [syslog_line(sent, socket.gethostname()) for sent in batch]
    try:
        if parts.scheme == "udp":
            _send_datagrams(host, port, lines, stream.allow_private)
        else:
            _send_stream(host, port, lines, stream.allow_private, tls=parts.scheme == "tls")
    except AddressRefused as refused:
        raise DeliveryFailed(str(refused)) from refused
    except OSError as error:
        raise DeliveryFailed(f"no connection: {error.strerror or error}"[:300]) from error


def _send_stream(host: str, port: int, lines: list[bytes], allow_private: bool, *, tls: bool) -> None:
    with guarded(allow_private):
        plain = create_checked_connection((host, port), CONNECT_TIMEOUT_S)
    with closing(plain):
        sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if tls else plain
        with closing(sock):
            sock.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))
            sock.settimeout(CLOSE_TIMEOUT_S)
            with suppress(TimeoutError):
                plain.shutdown(socket.SHUT_WR) if not tls else sock.unwrap()  # type: ignore[attr-defined]
                plain.recv(1)  # the end of the other side; what it could not read would be a reset


def _send_datagrams(host: str, port: int, lines: list[bytes], allow_private: bool) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    refusals = {name[0]: refusal_reason(str(name[0]), allow_private=allow_private) for *_, name in found}
    allowed = [(family, name) for family, *_, name in found if not refusals[name[0]]]
    if not allowed:
        raise AddressRefused(f"{host} is {next(iter(refusals.values()))}")
    family, name = allowed[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for line in lines:
            sock.sendto(line[:MAX_DATAGRAM_BYTES], name)
