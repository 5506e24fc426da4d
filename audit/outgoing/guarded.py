"""Connections that go only where they may: every address that a name stands for is judged, and the judged one is used.

Apprise's services speak through urllib3, which opens its sockets in one place. Inside `guarded` that place judges, for
this thread alone; redirects and changed names come through it like everything else.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from urllib3.util import connection

from audit.outgoing.addresses import refusal_of

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


def judged_connection(address: tuple[str, int], timeout: Any = None, *args: Any, **kwargs: Any) -> socket.socket:
    """urllib3's `create_connection`, to an address that was judged. Raises AddressRefused."""
    allow_private = _allows_private.get()
    if allow_private is None:
        return _unguarded(address, timeout, *args, **kwargs)
    host, port = address
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    refusals = {name[0]: refusal_of(str(name[0]), allow_private=allow_private) for *_, name in found}
    allowed = [name for *_, name in found if not refusals[name[0]]]
    if not allowed:
        raise AddressRefused(f"{host} is {next(iter(refusals.values()))}")
    wait = timeout if isinstance(timeout, int | float) else CONNECT_S
    return _unguarded((str(allowed[0][0]), port), wait, *args, **kwargs)


connection.create_connection = judged_connection
