"""POST to an address that somebody configured. Every connection goes to an address that was checked."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import urllib3
from urllib3.util import Timeout, connection, parse_url

from audit.outgoing.addresses import refusal_reason

CONNECT_S = 10.0
_allows_private: ContextVar[bool | None] = ContextVar("allows_private", default=None)
_unguarded = connection.create_connection


class AddressRefused(OSError):
    """Nobody may be told there."""


@contextmanager
def guarded(allow_private: bool) -> Iterator[None]:
    """Judge every connection that this context opens."""
    token = _allows_private.set(allow_private)
    try:
        yield
    finally:
        _allows_private.reset(token)


def create_checked_connection(
    address: tuple[str, int], timeout: Any = None, *args: Any, **kwargs: Any
) -> socket.socket:
    """urllib3's `create_connection`, to an address that was judged. Raises AddressRefused."""
    allow_private = _allows_private.get()
    if allow_private is None:
        return _unguarded(address, timeout, *args, **kwargs)
    host, port = address
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    refusals = {name[0]: refusal_reason(str(name[0]), allow_private=allow_private) for *_, name in found}
    allowed = [name for *_, name in found if not refusals[name[0]]]
    if not allowed:
        raise AddressRefused(f"{host} is {next(iter(refusals.values()))}")
    wait = timeout if isinstance(timeout, int | float) else CONNECT_S
    return _unguarded((str(allowed[0][0]), port), wait, *args, **kwargs)


connection.create_connection = create_checked_connection


# One POST to an address that somebody configured: judged before it is asked, not redirected, bounded in time.


CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 15.0
MAX_ANSWER_BYTES = 2_000
USER_AGENT = "Interlock/1"


class DeliveryFailed(Exception):
    """The other side did not take it; `str()` says why in words, `status` what it answered, if it did.

    `retry_after_s`: what it asked us to wait, where it said so.
    """

    def __init__(self, why: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        self.status, self.retry_after_s = status, retry_after_s
        super().__init__(why)


def url_fault(url: str) -> str:
    """Return why nothing can be posted to a URL, in words; empty when it can. Pure: resolves no name."""
    if any(ord(c) <= 32 or ord(c) >= 127 for c in url):
        return "The address has a space, a control or a non-ASCII character. Percent-encode it."
    try:
        parts = parse_url(url)
    except urllib3.exceptions.LocationParseError:
        return "The address cannot be read."
    if parts.scheme not in ("http", "https") or not parts.host:
        return "The address begins with https:// (or http://) and names a host."
    return "The address carries a password. Use a header or the signature instead." if parts.auth else ""


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool = False) -> int:
    """Send and return the 2xx status that came back. Raises NotTaken for everything else.

    Every connection goes to an address that was judged (`audit.outgoing.webhook`); redirects are not followed.
    """
    if fault := url_fault(url):
        raise DeliveryFailed(fault)
    sent = {"User-Agent": USER_AGENT, **headers}
    try:
        with (
            guarded(allow_private),
            urllib3.PoolManager(retries=False, timeout=Timeout(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)) as pool,
        ):
            answer = pool.request("POST", url, body=body, headers=sent, redirect=False, preload_content=False)
            try:
                said = answer.read(MAX_ANSWER_BYTES)
            finally:
                answer.release_conn()
    except AddressRefused as refused:
        raise DeliveryFailed(str(refused)) from refused
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise DeliveryFailed(f"no connection: {_innermost(error)}"[:300]) from error
    if 200 <= answer.status < 300:
        return int(answer.status)
    words = " ".join(said.decode(errors="replace").split())[:200]
    raise DeliveryFailed(
        f"it answered {answer.status}{f': {words}' if words else ''}", answer.status, _retry_after(answer.headers)
    )


def _innermost(error: BaseException) -> BaseException:
    cause = getattr(error, "reason", None)
    return _innermost(cause) if isinstance(cause, BaseException) else error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return min(86_400.0, max(0.0, float(headers.get("Retry-After", ""))))
    except ValueError:
        return None
