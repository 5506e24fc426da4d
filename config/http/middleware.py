"""What every request passes first: one correlation id from the caller into events and logs (W3C Trace Context, level
2),
no NUL in its address, and a limit on its body.
"""

import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware

from audit.errors import Invalid, NotFound, Problem, TooLarge
from config.http.problems import BadRequest, to_response

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


# Refuse a body that is too large, or of unknown length, before anything reads it.


class LengthRequired(Problem):
    """Send the request with a Content-Length: a body of unknown length is not accepted."""

    status, code = 411, "length_required"


class NulMiddleware:
    """Refuse NUL in an address: PostgreSQL cannot store it, and no address of ours has one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path_info:
            return to_response(request, NotFound())
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query:
            return to_response(
                request, Invalid(issues=[_nul_issue(part) for part in query.split("&") if "%00" in part])
            )
        return self.get_response(request)


def _nul_issue(part: str) -> dict[str, str]:
    """What is wrong with one `name=value` of a query."""
    name = unquote_plus(part.partition("=")[0]).replace("\x00", "")[:100]
    return {"severity": "error", "message": "NUL characters are not accepted.", "field": name}


class BodyLimitMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        length = request.META.get("CONTENT_LENGTH") or ""
        if "HTTP_TRANSFER_ENCODING" in request.META and not length:
            return to_response(request, LengthRequired())
        if length and not (length.isascii() and length.isdecimal()):
            return to_response(request, BadRequest("Content-Length is not a number."))
        if length and int(length) > limit:
            return to_response(request, TooLarge(f"A request may have {limit:,} bytes; this one has {length}."))
        return self.get_response(request)
