"""Probe a service over HTTP or TCP, with timings, and only at addresses that are allowed.

Shared by ``rerun_healthcheck`` and by the checks of an action. A name is resolved once, each address is checked, and
the connection goes to that address, so a name that changes its answer gains nothing (DNS rebinding). Redirects are
not followed, proxies are not used, bodies are capped and never kept. All times are whole microseconds.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from actions.types.protocol import Issue, Target, error
from audit.outgoing.webhook import refusal_reason

BODY_LIMIT = 1024 * 1024  # bytes read of a response
USER_AGENT = "Interlock-healthcheck/1"


class ProbeFailed(Exception):
    """The service did not answer as it should; ``code`` is a stable word, ``str()`` says what was seen."""

    def __init__(self, code: str, message: str):
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class ProbeRequest:
    """One question to a service. No ``path``: TCP, connecting is enough. No ``expected``: any 2xx or 3xx status."""

    host: str
    port: int
    tls: bool = False
    path: str = ""
    method: str = "GET"
    expected: tuple[int, ...] = ()
    body_contains: str = ""
    timeout_s: float = 10
    allow_private: bool = False
    ca_file: str | None = None

    @property
    def shown(self) -> str:
        if not self.path:
            return f"{self.host}:{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.tls else 80)
        return f"http{'s' if self.tls else ''}://{host}{'' if usual else f':{self.port}'}{self.path.partition('?')[0]}"


@dataclass
class ProbeResult:
    """What came of it. ``timings_us`` has dns, connect, tls, first_byte (each since the one before) and total."""

    ok: bool = False
    code: str = ""
    detail: str = ""
    address: str = ""
    status: int | None = None
    body_bytes: int | None = None
    timings_us: dict[str, int] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        given = {"address": self.address, "status": self.status, "body_bytes": self.body_bytes, "code": self.code}
        return {"ok": self.ok, "timings_us": self.timings_us} | {k: v for k, v in given.items() if v not in ("", None)}


class Stopwatch:
    """Times the phases of one probe against its deadline."""

    def __init__(self, timeout_s: float):
        self.started = self.last = time.monotonic()
        self.deadline = self.started + timeout_s
        self.timings_us: dict[str, int] = {}

    def left_s(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def lap(self, phase: str) -> None:
        now = time.monotonic()
        self.timings_us[phase] = int((now - self.last) * 1e6)
        self.last = now

    def stop(self) -> None:
        self.timings_us["total"] = int((time.monotonic() - self.started) * 1e6)


def url_fault(url: str) -> str:
    """Return why a URL cannot be asked, in words; empty when it can. Pure."""
    if any(ord(char) <= 32 or ord(char) >= 127 for char in url):
        return "The URL has a space, a control or a non-ASCII character. Percent-encode it (and use punycode in names)."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        return f"The URL cannot be read: {exc}."
    if parts.scheme not in ("http", "https"):
        return "The URL must begin with http:// or https://."
    if not parts.hostname or port == 0:
        return "The URL names no host, or port 0."
    if parts.username is not None or parts.password is not None:
        return "The URL carries credentials. They would be seen by everyone who reviews this; leave them out."
    return "The URL has a #fragment, which no server ever sees. Leave it out." if parts.fragment else ""


def url_request(url: str, **more: Any) -> ProbeRequest:
    """Return the question for a URL that ``url_fault`` finds nothing wrong with."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ProbeRequest(parts.hostname or "", parts.port or (443 if tls else 80), tls=tls, path=path, **more)


def probe(ask: ProbeRequest) -> ProbeResult:
    """Ask once. Never raises for what the network or the service does: the answer says it."""
    answer, watch = ProbeResult(), Stopwatch(ask.timeout_s)
    try:
        with open_connection(ask, answer, watch) as sock:
            answer.detail = f"{answer.address} accepted the connection"
            if ask.path:
                _exchange(ask, sock, answer, watch)
        answer.ok = True
    except ProbeFailed as exc:
        answer.code, answer.detail = exc.code, str(exc)
    except TimeoutError:
        answer.code, answer.detail = "timeout", f"no answer within {ask.timeout_s:g} s"
    except ssl.SSLCertVerificationError as exc:
        answer.code, answer.detail = "certificate", f"the certificate was refused: {exc.verify_message}"
    except (OSError, http.client.HTTPException, ValueError) as exc:
        expired = time.monotonic() >= watch.deadline  # then the timer shut the socket down, which shows as an error
        answer.code = "timeout" if expired else "connection"
        why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        answer.detail = f"no answer within {ask.timeout_s:g} s" if expired else f"the connection failed: {why}"
    watch.stop()
    answer.timings_us = watch.timings_us
    return answer


def probe_repeatedly(
    ask: ProbeRequest, times: int, interval_s: float, stopping: Callable[[], bool], deadline: float
) -> Iterator[ProbeResult]:
    """Ask ``times`` times, ``interval_s`` apart; ends early when stopping or past the (monotonic) deadline."""
    for n in range(times):
        if n:
            wake = min(time.monotonic() + interval_s, deadline)
            while (left := wake - time.monotonic()) > 0 and not stopping():
                time.sleep(min(left, 0.1))
        if stopping() or time.monotonic() >= deadline:
            return
        yield probe(ask)


def resolve(ask: ProbeRequest, timeout_s: float) -> list[tuple[int, Any]]:
    """Return (family, socket address) of every address of the host that may be asked. Raises ProbeFailed, TimeoutError.

    getaddrinfo knows no timeout, so it runs in a thread that is left behind when it is too slow.
    """
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(ask.host, ask.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP))
        except (OSError, ValueError) as exc:
            found.append(exc)

    thread = threading.Thread(target=look_up, name="interlock-resolve", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise TimeoutError
    if isinstance(found[0], Exception):
        raise ProbeFailed("dns", f"{ask.host} cannot be resolved: {getattr(found[0], 'strerror', '') or found[0]}")
    refusals = {address[0]: refusal_reason(address[0], allow_private=ask.allow_private) for *_, address in found}
    allowed = [(family, address) for family, *_, address in found if not refusals[address[0]]]
    if not allowed:
        address, why = next(iter(refusals.items()))
        name = ask.host if ask.host == address else f"{ask.host} ({address})"
        raise ProbeFailed("address_refused", f"{name} is {why}")
    return allowed


@contextmanager
def open_connection(ask: ProbeRequest, answer: ProbeResult, watch: Stopwatch) -> Iterator[socket.socket]:
    """Yield a socket to the first checked address that accepts, wrapped in TLS if asked; shut down at the deadline."""
    addresses = resolve(ask, watch.left_s())
    watch.lap("dns")
    sock = _connect(addresses, watch, answer)
    watch.lap("connect")
    sockets = [sock]
    timer = threading.Timer(
        watch.left_s(), _close_all, (sockets,)
    )  # a server that drips bytes outlives per-read timeouts
    timer.daemon = True
    timer.start()
    try:
        if ask.tls:
            sock.settimeout(watch.left_s())
            context = ssl.create_default_context(cafile=ask.ca_file)
            wrapped = context.wrap_socket(sock, server_hostname=ask.host, do_handshake_on_connect=False)
            sockets[0] = wrapped
            wrapped.do_handshake()
            watch.lap("tls")
        yield sockets[0]
    finally:
        timer.cancel()
        sockets[0].close()


def _connect(addresses: list[tuple[int, Any]], watch: Stopwatch, answer: ProbeResult) -> socket.socket:
    failure: OSError = OSError("no address")
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        answer.address = address[0]
        try:
            sock.settimeout(watch.left_s())
            sock.connect(address)
        except TimeoutError:
            sock.close()
            raise
        except OSError as exc:
            sock.close()
            failure = exc
            continue
        return sock
    raise failure


def _close_all(sockets: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sockets[0], socket.SHUT_RDWR)  # the plain one: SSLSocket's would drop the session first


def _exchange(ask: ProbeRequest, sock: socket.socket, answer: ProbeResult, watch: Stopwatch) -> None:
    connection = http.client.HTTPConnection(ask.host, ask.port, timeout=watch.left_s())
    connection.auto_open = 0  # never a second connection, and so never another address
    connection.sock = sock
    sock.settimeout(watch.left_s())
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close", "Host": _host_header(ask)}
    connection.request(ask.method, ask.path, headers=headers)
    response = connection.getresponse()
    watch.lap("first_byte")
    answer.status = response.status
    body = response.read(BODY_LIMIT)
    watch.left_s()
    answer.body_bytes = len(body)
    answer.detail = f"status {response.status} from {answer.address}"
    fine = response.status in ask.expected if ask.expected else 200 <= response.status < 400
    if not fine:
        wanted = ", ".join(map(str, ask.expected)) or "2xx or 3xx"
        raise ProbeFailed("status", f"status {response.status}, expected {wanted}")
    if ask.body_contains and ask.body_contains.encode() not in body:
        cut = f" in its first {BODY_LIMIT} bytes" if len(body) == BODY_LIMIT else ""
        raise ProbeFailed("body", f"status {response.status}, but the body does not have the expected text{cut}")


def _host_header(ask: ProbeRequest) -> str:
    host = f"[{ask.host}]" if ":" in ask.host else ask.host
    return host if ask.port == (443 if ask.tls else 80) else f"{host}:{ask.port}"


# Parameters of a probe, for forms and the API.


HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:.]{2,45}")

URL = {"title": "URL", "type": "string", "minLength": 8, "maxLength": 2000, "x-widget": "url"}
HOST_NAME = {
    "title": "Host",
    "description": "A name or an address.",
    "type": "string",
    "minLength": 1,
    "maxLength": 253,
}
PORT = {"title": "Port", "type": "integer", "minimum": 1, "maximum": 65535}
HTTP_DETAILS: dict[str, Any] = {
    "method": {"title": "Method", "type": "string", "enum": ["GET", "HEAD"], "default": "GET"},
    "expected_status": {
        "title": "Expected status",
        "description": "Any of these; without it, any 2xx or 3xx. Redirects are not followed.",
        "type": "array",
        "items": {"type": "integer", "minimum": 100, "maximum": 599},
        "minItems": 1,
        "maxItems": 20,
    },
    "body_contains": {
        "title": "Body contains",
        "description": "Text that must be in the first 1 MiB of the body.",
        "type": "string",
        "minLength": 1,
        "maxLength": 1000,
    },
}
TIMEOUT = {"title": "Timeout (s)", "description": "For one try.", "type": "integer", "minimum": 1, "maximum": 60}
INTERVAL = {"title": "Interval (s)", "description": "Between tries.", "type": "integer", "minimum": 0, "maximum": 60}
TIMES = {"type": "integer", "minimum": 1, "maximum": 20}


def probe_faults(question: dict[str, Any], prefix: str = "") -> list[Issue]:
    """Return what is wrong with a (schema-valid) question beyond its schema. Pure; resolves no name."""
    issues = []
    if "url" in question:
        fault = url_fault(question["url"])
        if fault:
            issues.append(error(fault, f"{prefix}url"))
    elif not HOST.fullmatch(question["host"]):
        issues.append(
            error("This is neither a host name nor an address. Leave out scheme, port and path.", f"{prefix}host")
        )
    if question.get("method") == "HEAD" and "body_contains" in question:
        issues.append(error("A HEAD request has no body. Use GET, or leave this out.", f"{prefix}body_contains"))
    if "url" not in question:
        only = [name for name in HTTP_DETAILS if name in question]
        issues += [
            error("Only a URL can be asked for this. Give url instead of host and port.", prefix + n) for n in only
        ]
    return issues


def to_probe_request(question: dict[str, Any], target: Target) -> ProbeRequest:
    """Return the question for the network; ``allow_private_targets`` and ``ca_file`` are the environment's settings."""
    common: dict[str, Any] = {
        "timeout_s": question.get("timeout_s", 10),
        "allow_private": target.settings.get("allow_private_targets") is True,
        "ca_file": target.settings.get("ca_file"),
    }
    if "url" not in question:
        return ProbeRequest(question["host"], question["port"], **common)
    return url_request(
        question["url"],
        method=question.get("method", "GET"),
        expected=tuple(question.get("expected_status", ())),
        body_contains=question.get("body_contains", ""),
        **common,
    )
