"""The HTTP API: every floor's routes under /api/, one authentication, one kind of error document."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.security.http import HttpAuthBase
from ninja.utils import check_csrf

from actions.api.openapi import Manual, with_problems
from actions.api.request_context import StrictParser
from audit.errors import Invalid, NotFound, Problem, Unauthenticated
from config.http.problems import BadRequest, StaleForm, to_response

ROUTERS: tuple[str, ...] = (
    "actions.api.actions.router",
    "actions.api.commands.router",
    "actions.api.plans.router",
    "actions.api.plans.explain_router",
    "actions.api.commands.comments_router",
    "actions.api.inbox.router",
    "actions.api.controls.breakers_router",
    "actions.api.events.router",
    "actions.api.events.evidence_router",
    "actions.api.openapi.router",
    "approvals.api.matrix_router",
    "approvals.api.policies_router",
    "approvals.api.weights_router",
    "actions.api.policies.router",
    "actions.api.policies.backtests_router",
    "actions.api.prediction_accuracy.router",
    "actions.api.incidents.router",
    "actions.api.controls.environments_router",
    "actions.api.controls.quarantines_router",
    "tenants.api.tokens.router",
    "audit.auditor.explore.api.log_router",
    "audit.evidence.api.router",
    "audit.auditor.explore.api.search_router",
    "audit.auditor.reports.api.router",
    "audit.verification.api.router",
    "audit.auditor.streams.api.router",
    "audit.retention.api.router",
)  # import paths; a floor's `api.router`
SAFE = ("GET", "HEAD", "OPTIONS")
MAX_ISSUES = 100


class MemberAuth(HttpAuthBase):
    """A Bearer token, or a session with its CSRF token. `tenants.authentication.middleware` sets `request.access`."""

    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Any:
        access = getattr(request, "access", None)
        if access is not None and access.token is None and request.method not in SAFE and check_csrf(request):
            raise StaleForm(remedies=["Send the csrf cookie's value as X-CSRFToken, or use an API token."])
        return access


class InterlockAPI(NinjaAPI):
    def get_openapi_schema(self, **options: Any) -> Any:
        return with_problems(super().get_openapi_schema(**options))


api = InterlockAPI(
    title="Interlock",
    version="1",
    description="Propose changes, approve exactly what you saw, follow them as they run, take the evidence with you.",
    auth=MemberAuth(),
    docs=Manual(),  # ninja's own pages load scripts from a CDN
    parser=StrictParser(),
    urls_namespace="api",
)


@api.exception_handler(Problem)
def on_problem(request: HttpRequest, error: Problem) -> HttpResponse:
    return to_response(request, error)


@api.exception_handler(AuthenticationError)
def on_unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return to_response(request, Unauthenticated())


@api.exception_handler(Http404)
def on_not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return to_response(request, NotFound())


@api.exception_handler(HttpError)
def on_bad_request(request: HttpRequest, error: HttpError) -> HttpResponse:
    cause = error.__cause__  # the parser's error; ninja wraps it
    return to_response(request, cause if isinstance(cause, Problem) else BadRequest(error.message))


@api.exception_handler(ValidationError)
def on_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """All issues at once, each with the field it is about."""
    issues = [to_issue(found) for found in error.errors[:MAX_ISSUES]]
    return to_response(request, Invalid(issues=issues))


def to_issue(found: dict[str, Any]) -> dict[str, str]:
    """An error of Pydantic: `loc` starts with the part of the request, and in a body with the view's argument."""
    part_of_request, *path = [str(part) for part in found["loc"]]
    field = ".".join(path[1:] if part_of_request == "body" and len(path) > 1 else path)
    message = "There is no such field." if found["type"] == "extra_forbidden" else found["msg"]
    return {"severity": "error", "message": message.removeprefix("Value error, ")[:300], "field": field}


for router in ROUTERS:
    api.add_router("", router)
