"""Graceful shutdown of a web process: running requests finish, new changes are refused.

From SIGTERM on, for `INTERLOCK_SHUTDOWN_S` and until the last running request is answered (10 s at most), pages can
still be read, changes are refused with 503 and `Retry-After`, and `/readyz` reports it. Streams and sockets end at
once; their clients reconnect elsewhere.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from twisted.internet.defer import Deferred

from audit.errors import Unavailable
from config.http.problems import to_response

GRACE_S = 10.0
FLUSH_S = 0.1
"""The time for the last response to leave before its connection is closed."""
SAFE = ("GET", "HEAD", "OPTIONS")
is_stopping = threading.Event()
log = structlog.get_logger(__name__)
Application = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


class ServerStopping(Unavailable):
    """This server is stopping and accepts no changes. Nothing changed; send the request again in a moment."""

    code = "closing"


class ShutdownMiddleware:
    """Refuse changes before anything is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_stopping.is_set() and request.method not in SAFE:
            return to_response(request, ServerStopping())
        return self.get_response(request)


class GracefulShutdown:
    """An ASGI application whose running HTTP requests are not cancelled during shutdown."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.running: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        is_answering = False

        async def send_and_note(message: dict[str, Any]) -> None:
            nonlocal is_answering
            is_answering = True
            await send(message)

        request = asyncio.ensure_future(self.application(scope, receive, send_and_note))
        self.running.add(request)
        try:
            await asyncio.shield(request)
        except asyncio.CancelledError:
            if is_answering or not is_stopping.is_set():  # a stream, or its client is gone
                request.cancel()
                raise
            await request
        finally:
            self.running.discard(request)

    async def close(self) -> None:
        """Refuse changes and answer running requests; the server stops when this returns."""
        is_stopping.set()
        started = time.monotonic()
        log.info("web_stopping", requests=len(self.running))
        await asyncio.sleep(settings.INTERLOCK.shutdown_s)
        while self.running and time.monotonic() - started < GRACE_S:
            await asyncio.sleep(0.02)
        await asyncio.sleep(FLUSH_S)

    def register_with(self, reactor: Any) -> "GracefulShutdown":
        """Have Twisted wait for `close` before it stops; registered ahead of Daphne's own clean-up."""
        reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromFuture(asyncio.ensure_future(self.close()))
        )
        return self
