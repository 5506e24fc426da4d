"""POST to an address that somebody configured. Every connection goes to an address that was checked.

Allowed addresses are an explicit list, because `ipaddress.is_global` lets multicast, NAT64, 6to4 and site-local
addresses
through (measured on Python 3.11.7).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import urllib3
from urllib3.util import Timeout, connection, parse_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PRIVATE = "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7"
NEVER = (
    "0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
    "224.0.0.0/4 240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 3fff::/20"
)
METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ["169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"]
)
"""Where AWS, Azure, Alibaba and Google answer any process with credentials; some of them lie among private
addresses.
"""
GLOBAL_6 = ipaddress.IPv6Network("2000::/3")  # what lies outside is unspecified, mapped, translated, local or multicast


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in text.split())


_PRIVATE, _NEVER = _networks(PRIVATE), _networks(NEVER)


def refusal_reason(address: str, *, allow_private: bool) -> str:
    """Return why Interlock does not connect to an IP address; empty when it may. Pure.

    Metadata services of clouds, link-local, multicast, documentation, translated and reserved addresses never; loopback
    and private ones only where the environment allows it.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address."
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed in METADATA:
        return "the address of a cloud's metadata service, which is never allowed."
    if any(parsed in network for network in _PRIVATE):
        advice = "An admin can set allow_private_targets on the environment."
        return "" if allow_private else f"a loopback or private address, which is not allowed here. {advice}"
    if any(parsed in network for network in _NEVER):
        return "a link-local, multicast, translated or reserved address, which is never allowed."
    if isinstance(parsed, ipaddress.IPv6Address) and parsed not in GLOBAL_6:
        return "a link-local, multicast, translated or reserved address, which is never allowed."
    return ""


CONNECT_S = 10.0
_allows_private: ContextVar[bool | None] = ContextVar("allows_private", default=None)
_unguarded = connection.create_connection


class AddressRefused(OSError):
    """Interlock does not connect to this address."""


@contextmanager
def guarded(allow_private: bool) -> Iterator[None]:
    """Check every connection that this context opens."""
    token = _allows_private.set(allow_private)
    try:
        yield
    finally:
        _allows_private.reset(token)


def create_checked_connection(
    address: tuple[str, int], timeout: Any = None, *args: Any, **kwargs: Any
) -> socket.socket:
    """urllib3's `create_connection`, to an address that was checked. Raises AddressRefused."""
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


CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 15.0
MAX_ANSWER_BYTES = 2_000
USER_AGENT = "Interlock/1"


class DeliveryFailed(Exception):
    """The receiver did not accept it. `str()` says why; `status` is its HTTP status, if it answered.

    `retry_after_s`: how long it asked us to wait, if it did.
    """

    def __init__(self, why: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        self.status, self.retry_after_s = status, retry_after_s
        super().__init__(why)


def url_fault(url: str) -> str:
    """Return why nothing can be posted to a URL; empty when it can. Pure: resolves no name."""
    if any(ord(c) <= 32 or ord(c) >= 127 for c in url):
        return "The address has a space, a control or a non-ASCII character. Percent-encode it."
    try:
        parts = parse_url(url)
    except urllib3.exceptions.LocationParseError:
        return "The address cannot be read."
    if parts.scheme not in ("http", "https") or not parts.host:
        return "The address must begin with https:// (or http://) and contain a host."
    return "The address contains a password. Use a header or the signature instead." if parts.auth else ""


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool = False) -> int:
    """Send and return the 2xx status that came back. Raises DeliveryFailed for everything else.

    Every connection goes to an address that was checked; redirects are not followed.
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
