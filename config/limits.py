"""Refuse a body that is too large, or of unknown length, before anything reads it."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from audit.errors import Problem, TooLarge
from config.problems import BadRequest, as_response


class LengthRequired(Problem):
    """Send the request with a Content-Length: a body of unknown length is not accepted."""

    status, code = 411, "length_required"


class BodyLimitMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        length = request.META.get("CONTENT_LENGTH") or ""
        if "HTTP_TRANSFER_ENCODING" in request.META and not length:
            return as_response(request, LengthRequired())
        if length and not (length.isascii() and length.isdecimal()):
            return as_response(request, BadRequest("Content-Length is not a number."))
        if length and int(length) > limit:
            return as_response(request, TooLarge(f"A request may have {limit:,} bytes; this one has {length}."))
        return self.get_response(request)
