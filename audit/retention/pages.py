"""The page of retention, legal holds and erasure: auditors see it, admins change it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit.errors import Conflict, Invalid, NotFound, Problem
from audit.log.subjects import actor_names
from audit.retention import archives, erasure
from audit.retention.archives import read_archive, read_keep_days
from audit.web import auditors_only, may_administer, stream_response, tenant_to_administer


@require_safe
@auditors_only
def retention(request: HttpRequest, tenant: UUID) -> HttpResponse:
    return _render_page(request, tenant)


@require_POST
@auditors_only
def change_retention(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """One of the page's forms: set retention, set or lift a legal hold, erase a person's texts."""
    tenant, by = tenant_to_administer(request)
    try:
        messages.success(request, _apply_form(request, tenant, by))
    except (Invalid, Conflict, NotFound) as refused:
        return _render_page(request, tenant, refused)
    return redirect("audit:retention")


def _apply_form(request: HttpRequest, tenant: UUID, by: str) -> str:
    post = request.POST
    match post.get("do"):
        case "keep":
            days = post.get("keep_days", "").strip()
            archives.set_keep_days(tenant, int(days) if days.isdecimal() else None if not days else -1, by)
            return "Kept forever." if not days else f"Kept for at least {days} days."
        case "hold":
            subject = post.get("subject", "").strip()
            erasure.set_hold(tenant, post.get("reason", ""), by, _parse_id(subject) if subject else None)
            return "Legal hold added: nothing is pruned or erased until it is lifted."
        case "lift":
            erasure.lift_hold(tenant, _parse_id(post.get("hold", "")), by)
            return "Legal hold lifted."
        case "erase":
            return erasure.describe_erasure(
                erasure.erase_known_person(tenant, _parse_id(post.get("principal", "")), post.get("reason", ""), by)
            )
    raise Invalid("Choose what to do.")


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        raise Invalid("This is not an id. Copy the id from the page of the action or person.") from None


@require_safe
@auditors_only
def download(request: HttpRequest, tenant: UUID, archive_id: UUID) -> StreamingHttpResponse:
    row = archives.find_archive(tenant, archive_id)
    return stream_response(request, read_archive(row), "application/gzip", row.file)


def _render_page(request: HttpRequest, tenant: UUID, refused: Problem | None = None) -> HttpResponse:
    holds = erasure.active_holds(tenant)
    names = actor_names(tenant, {row.set_by for row in holds})
    context: dict[str, Any] = {
        "here": "audit",
        "on": "retention",
        "keep_days": read_keep_days(tenant),
        "archives": archives.list_archives(tenant),
        "holds": [(row, names.get(row.set_by, row.set_by)) for row in holds],
        "refused": refused,
        "may_change": may_administer(request),
        "shortest": archives.MIN_KEEP_DAYS,
        "typed": request.POST,
    }
    return render(request, "audit/retention.html", context, status=refused.status if refused else 200)
