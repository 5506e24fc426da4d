"""New action: what should change, and what would that do?"""

from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.intake.submit import submit
from actions.pages.compose import Draft, first_draft, form_context, posted_draft, preview_context, tried
from actions.pages.entry import access_of, address_of, correlation_of, go, page
from audit.errors import Forbidden
from tenants.access import Access
from tenants.models import Environment


@page
def new_action(request: HttpRequest) -> HttpResponse:
    """The form; posting it adds or removes a row, previews, or proposes, by the button that sent it."""
    access = access_of(request)
    environments = places(access)
    if request.method != "POST":
        draft = first_draft(request, access, environments)
        return render(request, "actions/new.html", _context(draft, environments, [], key=uuid4().hex))
    draft, do = posted_draft(request.POST), request.POST.get("do", "")
    if do == "submit":
        made, issues = tried(_propose, request, access, draft)
        return go(request, address_of(made)) if made else _again(request, draft, environments, issues)
    found, issues = tried(preview_context, access, draft) if do == "preview" else (None, [])
    return _again(request, draft, environments, issues, found)


def _propose(request: HttpRequest, access: Access, draft: Draft) -> Any:
    """Submit; the same form sent twice with the same contents is one action."""
    submission = draft.submission()
    key = f"form-{request.POST.get('key', '')[:32]}-{submission.body_digest()[:24]}"
    return submit(access, submission, idempotency_key=key, correlation_id=correlation_of(request))[0]


def _again(
    request: HttpRequest,
    draft: Draft,
    environments: list[Environment],
    issues: Any,
    preview: dict[str, Any] | None = None,
) -> HttpResponse:
    context = _context(draft, environments, issues, key=request.POST.get("key", "")[:32]) | (preview or {})
    template = "actions/_compose.html" if request.headers.get("HX-Request") else "actions/new.html"
    return render(request, template, context, status=422 if context["errors"] else 200)


def _context(draft: Draft, environments: list[Environment], issues: list[dict[str, str]], key: str) -> dict[str, Any]:
    return {"here": "new", "key": key, **form_context(draft, environments, issues)}


def places(access: Access) -> list[Environment]:
    """Where the reader may propose, gentlest first. Raises Forbidden when that is nowhere."""
    found = list(Environment.objects.select_related("tenant").filter(pk__in=access.environments_where("propose")))
    if not found:
        raise Forbidden(
            "You may look here, but not propose actions.", remedies=["Ask a tenant admin for a role that may propose."]
        )
    return sorted(found, key=lambda e: (["safe", "guarded", "dangerous"].index(e.risk_class), e.slug))
