"""A web process that is told to stop: it ends what it has begun, and sends what is new elsewhere.

From SIGTERM on, for `INTERLOCK_CLOSING_S` and until the last request that ran has been answered (10 s at most), pages
can still be read, whatever would change something is refused with 503 and `Retry-After`, and `/readyz` says so, too.
Streams and sockets end at once: their readers connect again, elsewhere.
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
"""What the last answer needs to leave, before its connection is closed."""
SAFE = ("GET", "HEAD", "OPTIONS")
is_stopping = threading.Event()
log = structlog.get_logger(__name__)
Application = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


class ServerStopping(Unavailable):
    """This server is being stopped and takes nothing new. Nothing was changed; send it again in a moment."""

    code = "closing"


class ShutdownMiddleware:
    """Refuse what would change something, before anything is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_stopping.is_set() and request.method not in SAFE:
            return to_response(request, ServerStopping())
        return self.get_response(request)


class GracefulShutdown:
    """An ASGI application whose HTTP requests outlive the server's wish to cancel them, while it closes."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.running: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        answering = False

        async def noticed(message: dict[str, Any]) -> None:
            nonlocal answering
            answering = True
            await send(message)

        request = asyncio.ensure_future(self.application(scope, receive, noticed))
        self.running.add(request)
        try:
            await asyncio.shield(request)
        except asyncio.CancelledError:
            if answering or not is_stopping.is_set():  # a stream; or its reader is gone
                request.cancel()
                raise
            await request
        finally:
            self.running.discard(request)

    async def close(self) -> None:
        """Until this returns, the server goes on: refusing, and answering what it had begun."""
        is_stopping.set()
        began = time.monotonic()
        log.info("web_stopping", requests=len(self.running))
        await asyncio.sleep(settings.INTERLOCK.closing_s)
        while self.running and time.monotonic() - began < GRACE_S:
            await asyncio.sleep(0.02)
        await asyncio.sleep(FLUSH_S)

    def register_with(self, reactor: Any) -> "GracefulShutdown":
        """Have Twisted wait for `close` before it stops; registered ahead of Daphne's own clean-up."""
        reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromFuture(asyncio.ensure_future(self.close()))
        )
        return self
