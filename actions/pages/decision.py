"""The rail beside a plan: who has agreed, whether the reader can, and what can be done now. And the deciding itself."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from actions.models import Action
from actions.pages.entry import access_of, address_of, correlation_of, go, page
from actions.pages.stepper import next_words
from actions.verbs import accept, allowed, approve, request_changes, request_of, take_back_approval, take_back_ask
from approvals.models import Request
from approvals.notifications.enqueue import count_failed
from approvals.quorum.count import count_quorum, filled_approvals
from approvals.requests.decisions import can_decide
from approvals.requests.quorum_context import quorum_context
from approvals.requests.withdraw import change_requests_of
from tenants.access import Access

GATED = ("high", "critical")
"""Tiers whose plan must be viewed change by change before the approve button opens."""


def decision_context(access: Access, action: Action) -> dict[str, Any]:
    """The context of the rail; `asked` is the newest request about the action, open or not."""
    asked = request_of(action) if action.plan is not None else None
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
        "asked_open": is_open,
        "needed": sum(s["count"] for s in required_approvals),
        "have": sum(len(s["by"]) for s in required_approvals),
        "can": can,
        "why_not": why_not,
        "verbs": allowed(access, action, asked),
        "gated": action.tier in GATED,
        "next_words": next_words(action, missing),
        "is_last": missing == 1,
        "left_share": _left_share(asked) if asked is not None and is_open else 0,
        "quorum": quorum,
        "untold": count_failed(asked) if asked is not None else 0,
        "change_requests": change_requests_of(asked) if asked is not None and is_open else [],
    }


def _left_share(asked: Request) -> float:
    """How much of the time to decide is left, in per cent."""
    whole = (asked.expires_at - asked.opened_at).total_seconds()
    return 100 * max((asked.expires_at - timezone.now()).total_seconds(), 0) / whole if whole else 0


@require_POST
@page
def decide(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Approve exactly the plan whose digest the form carries, reject it, or ask for changes.

    A stale form gets 409, and stays as typed.
    """
    access, sent = access_of(request), request.POST
    if sent.get("decision") == "ask":
        action = request_changes(access, action_id, sent.get("comment", ""), correlation_id=correlation_of(request))
        messages.success(request, "You asked for changes. Its requester is told; nothing is approved meanwhile.")
        return go(request, address_of(action))
    approved = sent.get("decision") == "approve"
    digest, comment = sent.get("digest", ""), sent.get("comment", "")
    action = approve(access, action_id, approved, digest, comment, correlation_id=correlation_of(request))
    messages.success(request, f"You {'approved' if approved else 'rejected'} “{action.title}”.")
    return go(request, "/" if sent.get("next") == "queue" else address_of(action))


@require_POST
@page
def withdraw_change_request(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """No longer ask for changes."""
    why = request.POST.get("reason", "")
    action = take_back_ask(access_of(request), action_id, why, correlation_id=correlation_of(request))
    last = "" if action.state == "awaiting_approval" else " That was the last word missing."
    messages.success(request, f"You no longer ask for changes.{last}")
    return go(request, address_of(action))


@require_POST
@page
def withdraw(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Take an approval back before the run begins."""
    why = request.POST.get("reason", "")
    action = take_back_approval(access_of(request), action_id, why, correlation_id=correlation_of(request))
    messages.success(request, "You took your approval back. Your required approval is open again.")
    return go(request, address_of(action))


@require_POST
@page
def accept_diff(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The requester accepts the dry-run diff, where nobody else is asked."""
    digest = request.POST.get("digest", "")
    action = accept(access_of(request), action_id, digest, correlation_id=correlation_of(request))
    messages.success(request, "Accepted. The run starts by itself.")
    return go(request, address_of(action))
