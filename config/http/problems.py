"""Errors on their way out: a problem document (RFC 9457) for programs, a page or a fragment for people."""

import sys
from collections.abc import Callable
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import loader

from audit.errors import Forbidden, NotFound, Problem, TooLarge, Unavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
log = structlog.get_logger(__name__)


class BadRequest(Problem):
    """The request could not be understood."""

    status, code = 400, "bad_request"


class MethodNotAllowed(Problem):
    """This address does not answer to that method."""

    status, code = 405, "method_not_allowed"


class StaleForm(Forbidden):
    """This page was too old to be sent safely. Reload it and try again; nothing was changed."""

    code = "stale_form"


class DatabaseUnavailable(Unavailable):
    """The database does not answer just now. Try again shortly; with the same Idempotency-Key it is safe to."""

    code = "database_unavailable"


class ProblemMiddleware:
    """Answer the errors that verbs raise; views have no `try`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 405 and wants_json(request):
            allowed = response.get("Allow", "")
            response = to_response(request, MethodNotAllowed(remedies=[f"Use {allowed}."]))
            response["Allow"] = allowed
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        problem = problem_of(exception)
        return to_response(request, problem) if problem else None


def problem_of(exception: Exception) -> Problem | None:
    """The problem that an exception stands for; None when it is a fault of ours."""
    if isinstance(exception, Problem):
        return exception
    if isinstance(exception, Http404):
        return NotFound()
    if isinstance(exception, PermissionDenied):
        return Forbidden()
    if isinstance(exception, RequestDataTooBig):
        return TooLarge()
    if isinstance(exception, (OperationalError, InterfaceError)):
        log.warning("database_unavailable", error=str(exception))
        return DatabaseUnavailable()
    return None


def to_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """JSON below /api/ or where JSON is asked for; else `_problem.html` for htmx and `problem.html` for a page."""
    document = problem.as_dict()
    correlation_id = getattr(request, "correlation_id", "")
    if wants_json(request):
        document["correlation_id"] = correlation_id
        response: HttpResponse = JsonResponse(document, status=problem.status, content_type=MEDIA_TYPE)
    else:
        is_fragment = request.headers.get("HX-Request") == "true" and request.headers.get("HX-Boosted") != "true"
        template = loader.get_template("_problem.html" if is_fragment else "problem.html")
        context = {"problem": problem, "document": document, "correlation_id": correlation_id}
        response = HttpResponse(template.render(context, request), status=problem.status)
    if problem.status == 503:
        response["Retry-After"] = str(RETRY_AFTER_S)
    if problem.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def wants_json(request: HttpRequest) -> bool:
    return request.path.startswith("/api/") or (
        not request.accepts("text/html") and (request.accepts("application/json") or request.accepts(MEDIA_TYPE))
    )


def handler_400(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return to_response(request, BadRequest())


def handler_403(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return to_response(request, Forbidden())


def handler_404(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return to_response(request, NotFound())


def handler_500(request: HttpRequest) -> HttpResponse:
    """Django calls this while it handles the exception; a middleware's comes by here and nowhere else."""
    error = sys.exc_info()[1]
    return to_response(request, (problem_of(error) if isinstance(error, Exception) else None) or Problem())


def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF refusal, in our words."""
    return to_response(request, StaleForm())
