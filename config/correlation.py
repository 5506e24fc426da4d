"""One id from the browser or API caller through workers into events and logs (W3C Trace Context, level 2)."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware

PROBES = ("/healthz", "/readyz", "/metrics")  # asked every few seconds
TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?"
)


def trace_id_of(traceparent: str) -> str | None:
    """The trace id of a valid `traceparent` header, else None. Later versions than 00 may carry more fields."""
    match = TRACEPARENT.fullmatch(traceparent.strip(" \t"))
    if not match or match["version"] == "ff" or (match["version"] == "00" and match["more"] is not None):
        return None
    if not match["trace"].strip("0") or not match["parent"].strip("0"):
        return None
    return match["trace"]


class CorrelationMiddleware:
    """Set `request.correlation_id`, bind it to every log line of the request, return it as `X-Correlation-Id`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        correlation_id = trace_id_of(request.headers.get("traceparent", "")) or uuid.uuid4().hex
        request.correlation_id = correlation_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=correlation_id)
        response = self.get_response(request)
        response["X-Correlation-Id"] = correlation_id
        return response


class RequestLog(RequestMiddleware):
    """django-structlog's request lines, by path: a query string holds what people typed, a link may hold a key."""

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        if request.path in PROBES and response.status_code == 200:
            structlog.contextvars.clear_contextvars()
        else:
            super().handle_response(request, response)

    @classmethod
    def format_request(cls, request: HttpRequest) -> Any:
        match = request.resolver_match
        is_secret = match is not None and "token" in match.kwargs
        return f"{request.method} {match.route if is_secret and match else request.path}"
