"""The HTTP API: every floor's routes under /api/, one way in, one kind of error document."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.security.http import HttpAuthBase
from ninja.utils import check_csrf

from audit.errors import Invalid, NotFound, Problem, Unauthenticated
from config.problems import BadRequest, StaleForm, as_response

ROUTERS: tuple[str, ...] = ()  # import paths; a floor's `api.router`
SAFE = ("GET", "HEAD", "OPTIONS")


class Member(HttpAuthBase):
    """A Bearer token, or a session with its CSRF token: `tenants.middleware` made either into `request.access`."""

    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Any:
        access = getattr(request, "access", None)
        if access is not None and access.token is None and request.method not in SAFE and check_csrf(request):
            raise StaleForm(remedies=["Send the csrf cookie's value as X-CSRFToken, or use an API token."])
        return access


api = NinjaAPI(
    title="Interlock",
    version="1",
    description="Propose changes, approve exactly what you saw, follow them as they run, take the evidence with you.",
    auth=Member(),
    urls_namespace="api",
)


@api.exception_handler(Problem)
def on_problem(request: HttpRequest, error: Problem) -> HttpResponse:
    return as_response(request, error)


@api.exception_handler(AuthenticationError)
def on_stranger(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return as_response(request, Unauthenticated())


@api.exception_handler(Http404)
def on_unknown(request: HttpRequest, error: Http404) -> HttpResponse:
    return as_response(request, NotFound())


@api.exception_handler(HttpError)
def on_unreadable(request: HttpRequest, error: HttpError) -> HttpResponse:
    return as_response(request, BadRequest(error.message))


@api.exception_handler(ValidationError)
def on_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """All issues at once, each with the field it is about (`body.` and the parameter's own name left out)."""
    issues = [
        {"severity": "error", "message": found["msg"], "field": ".".join(map(str, found["loc"][2:] or found["loc"]))}
        for found in error.errors
    ]
    return as_response(request, Invalid(issues=issues))


for router in ROUTERS:
    api.add_router("", router)
