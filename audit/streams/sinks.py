"""How a batch reaches its receiver. Each raises NotTaken where it does not; one that was taken may be sent again."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from audit.outgoing.addresses import refusal_of
from audit.outgoing.guarded import AddressRefused, guarded, judged_connection
from audit.outgoing.posting import NotTaken, post, url_fault
from audit.streams.models import Stream
from audit.streams.shapes import Sent, cloud_events, json_line, syslog_line

CONNECT_S = 5.0
PARTING_S = 2.0
PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
MOST_DATAGRAM = 60_000


def address_fault(kind: str, address: str) -> str:
    """Return why nothing can be sent there, in words; empty when it can. Pure."""
    if kind == Stream.Kind.FILE:
        return "A file needs no address: it is named after the stream." if address else ""
    if kind == Stream.Kind.WEBHOOK:
        return url_fault(address)
    try:
        parts = urlsplit(address)
        is_fine = parts.scheme in PORTS and bool(parts.hostname) and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        is_fine = False
    return "" if is_fine else "Write tls://host:port, tcp://host:port or udp://host:port."


def signature(secret: bytes, message_id: str, at: int, body: bytes) -> str:
    """The `webhook-signature` of Standard Webhooks: HMAC-SHA256 over id, Unix time and body."""
    told = b".".join([message_id.encode(), str(at).encode(), body])
    return "v1," + base64.b64encode(hmac.new(secret, told, hashlib.sha256).digest()).decode()


def send_webhook(stream: Stream, secret: bytes, batch: Sequence[Sent], at: int) -> None:
    """POST a batch of CloudEvents, signed. The id is the same whenever the same batch is sent again."""
    body = cloud_events(stream.tenant, batch)
    message_id = f"{stream.pk}:{batch[0].log_index}-{batch[-1].log_index}"
    headers = {
        "Content-Type": "application/cloudevents-batch+json; charset=utf-8",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(secret, message_id, at, body),
    }
    post(stream.address, body, headers, allow_private=stream.allow_private)


def file_of(tenant: UUID, name: str) -> Path:
    return Path(settings.INTERLOCK.var) / "streams" / str(tenant) / f"{name}.jsonl"


def append_lines(stream: Stream, batch: Sequence[Sent]) -> int:
    """
    Append a batch to the stream's file, on disk before this returns; return where the file ends now.

    What lies behind the known end was written by a worker that died before it could say so: it is written again in its
    place, so that no line is there twice. A file that is shorter was moved away or emptied: then its end is its start.
    """
    path = file_of(stream.tenant, stream.name)
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
        raise NotTaken(f"{path.name}: {error.strerror or error}") from error
    return start + len(lines)


def send_syslog(stream: Stream, batch: Sequence[Sent]) -> None:
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
        raise NotTaken(str(refused)) from refused
    except OSError as error:
        raise NotTaken(f"no connection: {error.strerror or error}"[:300]) from error


def _send_stream(host: str, port: int, lines: list[bytes], allow_private: bool, *, tls: bool) -> None:
    with guarded(allow_private):
        plain = judged_connection((host, port), CONNECT_S)
    with closing(plain):
        sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if tls else plain
        with closing(sock):
            sock.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))
            sock.settimeout(PARTING_S)
            with suppress(TimeoutError):
                plain.shutdown(socket.SHUT_WR) if not tls else sock.unwrap()  # type: ignore[attr-defined]
                plain.recv(1)  # the end of the other side; what it could not read would be a reset


def _send_datagrams(host: str, port: int, lines: list[bytes], allow_private: bool) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    refusals = {name[0]: refusal_of(str(name[0]), allow_private=allow_private) for *_, name in found}
    allowed = [(family, name) for family, *_, name in found if not refusals[name[0]]]
    if not allowed:
        raise AddressRefused(f"{host} is {next(iter(refusals.values()))}")
    family, name = allowed[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for line in lines:
            sock.sendto(line[:MOST_DATAGRAM], name)
