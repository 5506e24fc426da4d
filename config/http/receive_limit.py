"""Refuse a body that is too large, or of unknown length, while its headers arrive: nothing of it is kept.

Daphne hands a request to Django only when all of its body has been received. `BodyLimitMiddleware` then answers 413,
but
memory and disk have been spent by then. This answers from the headers, drops what still arrives, and closes the
connection a moment later, so that the sender can read the answer.
"""

import json
from http import HTTPStatus
from typing import Any

from daphne import http_protocol
from django.conf import settings
from twisted.internet import reactor

CLOSE_AFTER_S = 0.5
"""How long an answered sender may go on sending before the connection is closed."""


class LimitedRequest(http_protocol.WebRequest):
    """One request of Daphne's, refused from its headers where its body may not be received."""

    is_refused = False

    def gotLength(self, length: int | None) -> None:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if length is None and self.requestHeaders.hasHeader(b"transfer-encoding"):
            self._refuse(411, "length_required", "Send a Content-Length: a body of unknown length is not accepted.")
        elif length is not None and length > limit:
            self._refuse(413, "too_large", f"A request may have {limit:,} bytes; this one has {length:,}.")
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        if not self.is_refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self.is_refused:
            super().requestReceived(command, path, version)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        self.is_refused = True
        problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
        body = json.dumps({**problem, "detail": detail, "remedies": []}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.channel.transport.write(head.encode() + body)
        loop: Any = reactor
        loop.callLater(CLOSE_AFTER_S, self.channel.loseConnection)


def limit_received_bodies() -> None:
    """Let Daphne build requests of this class from now on. Harmless under another server."""
    http_protocol.WebRequest = LimitedRequest
