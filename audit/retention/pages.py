"""Keeping and letting go, in the browser: auditors see it, admins say it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit.access import may_administer, tenant_to_administer
from audit.errors import Conflict, Invalid, NotFound, Problem
from audit.pages import auditors
from audit.retention import holds, verbs
from audit.retention.archives import keep_days_of, pieces_of
from audit.streaming import streamed
from audit.subjects import names_of_actors


@require_safe
@auditors
def retention(request: HttpRequest, tenant: UUID) -> HttpResponse:
    return _page(request, tenant)


@require_POST
@auditors
def say(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """One of the page's forms: how long, what to hold, what to lift, whose words to erase."""
    tenant, by = tenant_to_administer(request)
    try:
        messages.success(request, _said(request, tenant, by))
    except (Invalid, Conflict, NotFound) as refused:
        return _page(request, tenant, refused)
    return redirect("audit:retention")


def _said(request: HttpRequest, tenant: UUID, by: str) -> str:
    post = request.POST
    match post.get("do"):
        case "keep":
            days = post.get("keep_days", "").strip()
            verbs.keep_for(tenant, int(days) if days.isdecimal() else None if not days else -1, by)
            return "Kept for ever." if not days else f"Kept for at least {days} days."
        case "hold":
            subject = post.get("subject", "").strip()
            holds.hold(tenant, post.get("reason", ""), by, _id(subject) if subject else None)
            return "It is held: nothing of it is pruned or erased until you lift the hold."
        case "lift":
            holds.lift(tenant, _id(post.get("hold", "")), by)
            return "The hold is lifted."
        case "erase":
            return verbs.erased_words(
                verbs.erase_person(tenant, _id(post.get("principal", "")), post.get("reason", ""), by)
            )
    raise Invalid("Choose what to do.")


def _id(text: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        raise Invalid("This is not an id. Copy it from the page of the action or person.") from None


@require_safe
@auditors
def download(request: HttpRequest, tenant: UUID, archive_id: UUID) -> StreamingHttpResponse:
    row = verbs.archive_of(tenant, archive_id)
    return streamed(request, pieces_of(row), "application/gzip", row.file)


def _page(request: HttpRequest, tenant: UUID, refused: Problem | None = None) -> HttpResponse:
    standing = holds.standing(tenant)
    names = names_of_actors(tenant, {row.set_by for row in standing})
    context: dict[str, Any] = {
        "here": "audit", "on": "retention", "keep_days": keep_days_of(tenant), "archives": verbs.archives_of(tenant),
        "holds": [(row, names.get(row.set_by, row.set_by)) for row in standing], "refused": refused,
        "may_change": may_administer(request), "shortest": verbs.SHORTEST_DAYS, "typed": request.POST,
    }  # fmt: skip
    return render(request, "audit/retention.html", context, status=refused.status if refused else 200)
