"""The rail beside a plan: who has agreed, whether the reader can, and what can be done now. And the deciding itself."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from actions.commands import propose, rollback, stop_resume
from actions.commands.review import accept, approve, request_changes, withdraw_approval, withdraw_requested_changes
from actions.intake.submission import MODES
from actions.lifecycle.allowed import allowed_verbs, latest_request
from actions.models import Action
from actions.pages.action.progress import describe_next
from actions.pages.action.rollback import roll_back_to_checkpoint
from actions.pages.decorators import access_of, correlation_of, redirect_to, require_member
from actions.queries.action_list import page_url
from approvals.models import Request
from approvals.notifications.enqueue import count_failed
from approvals.quorum.count import count_quorum, filled_approvals
from approvals.requests.decisions import can_decide
from approvals.requests.quorum_context import quorum_context
from approvals.requests.withdraw import change_requests_of
from tenants.access import Access

TIERS_VIEWED_FIRST = ("high", "critical")
"""Tiers whose plan must be viewed change by change before the approve button opens."""


def approval_panel_context(access: Access, action: Action) -> dict[str, Any]:
    """The context of the rail; `asked` is the newest request about the action, open or not."""
    asked = latest_request(action) if action.plan is not None else None
    counted = count_quorum(asked, access.principal.pk) if asked is not None else None
    required_approvals = filled_approvals(counted) if counted else []
    is_open = asked is not None and asked.state == "open" and action.state == "awaiting_approval"
    quorum = quorum_context(asked, access) if asked is not None and asked.kind == "approval" else None
    can, why_not = (False, "")
    if asked is not None and is_open:
        can, why_not = (quorum["can"], quorum["why_not"]) if quorum else can_decide(asked, access)
    missing = counted.missing if counted else 0
    return {
        "asked": asked,
        "is_request_open": is_open,
        "needed": sum(s["count"] for s in required_approvals),
        "have": sum(len(s["by"]) for s in required_approvals),
        "can": can,
        "why_not": why_not,
        "verbs": allowed_verbs(access, action, asked),
        "gated": action.tier in TIERS_VIEWED_FIRST,
        "next_words": describe_next(action, missing),
        "is_last": missing == 1,
        "left_share": _share_of_time_left(asked) if asked is not None and is_open else 0,
        "quorum": quorum,
        "untold": count_failed(asked) if asked is not None else 0,
        "change_requests": change_requests_of(asked) if asked is not None and is_open else [],
    }


def _share_of_time_left(asked: Request) -> float:
    """How much of the time to decide is left, in per cent."""
    whole = (asked.expires_at - asked.opened_at).total_seconds()
    return 100 * max((asked.expires_at - timezone.now()).total_seconds(), 0) / whole if whole else 0


@require_POST
@require_member
def decide_plan(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Approve exactly the plan whose digest the form carries, reject it, or ask for changes.

    A stale form gets 409, and stays as typed.
    """
    access, sent = access_of(request), request.POST
    if sent.get("decision") == "ask":
        action = request_changes(access, action_id, sent.get("comment", ""), correlation_id=correlation_of(request))
        messages.success(
            request, "You requested changes. The requester is notified; the plan cannot be approved until then."
        )
        return redirect_to(request, page_url(action))
    approved = sent.get("decision") == "approve"
    digest, comment = sent.get("digest", ""), sent.get("comment", "")
    action = approve(access, action_id, approved, digest, comment, correlation_id=correlation_of(request))
    messages.success(request, f"You {'approved' if approved else 'rejected'} “{action.title}”.")
    return redirect_to(request, "/" if sent.get("next") == "queue" else page_url(action))


@require_POST
@require_member
def withdraw_change_request(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """No longer ask for changes."""
    why = request.POST.get("reason", "")
    action = withdraw_requested_changes(access_of(request), action_id, why, correlation_id=correlation_of(request))
    last = "" if action.state == "awaiting_approval" else " Nothing else blocks it."
    messages.success(request, f"You withdrew your request for changes.{last}")
    return redirect_to(request, page_url(action))


@require_POST
@require_member
def withdraw_approval_view(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Take an approval back before the run begins."""
    why = request.POST.get("reason", "")
    action = withdraw_approval(access_of(request), action_id, why, correlation_id=correlation_of(request))
    messages.success(request, "You took your approval back. Your required approval is open again.")
    return redirect_to(request, page_url(action))


@require_POST
@require_member
def accept_plan_diff(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The requester accepts the dry-run diff, where nobody else is asked."""
    digest = request.POST.get("digest", "")
    action = accept(access_of(request), action_id, digest, correlation_id=correlation_of(request))
    messages.success(request, "Accepted. The run starts by itself.")
    return redirect_to(request, page_url(action))


# The other verbs, one form each: withdraw, abort, settle what is held, roll back, retry.


def _read_reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\x00", "").strip()[:4_000]


@require_POST
@require_member
def cancel_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    action = stop_resume.cancel(
        access_of(request), action_id, _read_reason(request), correlation_id=correlation_of(request)
    )
    messages.success(request, "Withdrawn. Nothing was changed.")
    return redirect_to(request, page_url(action))


@require_POST
@require_member
def resume_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Settle a held action: go on, undo, or give up; for a step in doubt with the person's word on it."""
    found = {"yes": True, "no": False}.get(request.POST.get("step_done", ""))
    how = request.POST.get("how", "")
    via = correlation_of(request)
    action = stop_resume.resume(
        access_of(request), action_id, _read_reason(request), how=how, step_done=found, correlation_id=via
    )
    return redirect_to(request, f"/actions/{action.pk}/run/")


@require_POST
@require_member
def rollback_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Undo: of a completed action by a new one that goes through the gate, of a failed or held one at once.

    With a checkpoint, back to just after that step.
    """
    if request.POST.get("to"):
        return roll_back_to_checkpoint(request, action_id)
    action, new = rollback.rollback(
        access_of(request), action_id, _read_reason(request), correlation_id=correlation_of(request)
    )
    if new:
        messages.success(request, "This action undoes the other one. It needs its own plan and approvals.")
    return redirect_to(request, page_url(action))


@require_POST
@require_member
def retry_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    mode = request.POST.get("mode", "") if request.POST.get("mode") in MODES else ""
    via = correlation_of(request)
    action = propose.retry(access_of(request), action_id, _read_reason(request), mode=mode, correlation_id=via)
    messages.success(request, "Proposed again with a new plan and policy evaluation.")
    return redirect_to(request, page_url(action))
