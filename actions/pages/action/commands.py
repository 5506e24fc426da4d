"""Commands on an action: decide, withdraw, accept, cancel, abort, resume, roll back, retry; and the panels they
stand in."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from actions.commands import propose, rollback, stop_resume
from actions.commands.review import accept, approve, request_changes, withdraw_approval, withdraw_requested_changes
from actions.commands.rollback import rollback_targets, rollback_to_step
from actions.intake.submission import MODES
from actions.lifecycle import allowed
from actions.lifecycle.allowed import allowed_verbs, latest_request
from actions.lifecycle.journal import Journal
from actions.models import Action, JournalEntry, Plan
from actions.pages.action.progress import describe_next
from actions.pages.decorators import read_reason, redirect_to, require_member
from actions.preflight.step_graph import IRREVERSIBLE, UNDOABLE, build_rollback_plan, undo_order
from actions.queries.action_list import page_url
from actions.queries.activity import ActivityEntry
from actions.run.rollback import ROLLBACK_FORMAT
from actions.types.shared.recovery_policy import describe_policy
from approvals.models import Request
from approvals.notifications.enqueue import count_failed
from approvals.quorum.count import count_quorum, filled_approvals
from approvals.requests.decisions import can_decide
from approvals.requests.quorum_context import quorum_context
from approvals.requests.withdraw import change_requests_of
from audit.log.artifacts import ArtifactMissing, read_artifact
from audit.web import correlation_of
from tenants.access import Access, access_of

MAX_SHOWN = 12
ENDING_VERBS = ("action.finish_rollback", "action.fail", "action.hold")


@require_http_methods(["GET", "HEAD", "POST"])
@require_member
def abort_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Show what stopping would do; on POST, request the stop."""
    access = access_of(request)
    if request.method == "POST":
        reason = read_reason(request)
        action = stop_resume.abort(access, action_id, reason, correlation_id=correlation_of(request))
        messages.warning(request, "Abort requested. The run stops at its next checkpoint and rolls back.")
        return redirect_to(request, f"/actions/{action.pk}/run/")
    action = allowed.find_action(access, action_id)
    may = "abort" in allowed.allowed_verbs(access, action)
    context = {"action": action, "here": "queue", "may": may, "plan": action.plan, **describe_abort(action)}
    if not request.headers.get("HX-Request"):
        return render(request, "actions/run/abort.html", context)
    keeps_running = "keep" in request.GET or not may
    return render(request, "actions/run/_abort.html" if keeps_running else "actions/run/_abort_armed.html", context)


def describe_abort(action: Action) -> dict[str, Any]:
    """What stopping now would do: which steps run, what would be undone in which order, and what cannot be."""
    steps = action.plan.steps if action.plan else []
    back = (action.plan.rollback if action.plan else {}) or build_rollback_plan(steps, {}, {})
    journal = Journal.of(action.journal_entries.order_by("pk"), action.simulated)
    runs = [s for s in steps if journal[s["key"]].state == "open"]
    stands = journal.with_effect(steps)
    undone = [s for s in undo_order(stands, back) if s["compensation"]["kind"] in UNDOABLE]
    return {
        "runs": runs[:MAX_SHOWN],
        "undone": undone[:MAX_SHOWN],
        "undone_more": max(0, len(undone) - MAX_SHOWN),
        "undone_count": len(undone),
        "stays": [s for s in stands if s["compensation"]["kind"] == IRREVERSIBLE][:MAX_SHOWN],
        "back": back,
    }


def roll_back_to_checkpoint(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Take a run back to just after the step that the form names."""
    via, to = correlation_of(request), request.POST.get("to", "").replace("\x00", "")[:200]
    action = rollback_to_step(access_of(request), action_id, to, read_reason(request), correlation_id=via)
    messages.warning(request, "Rolling back to that checkpoint. The run is then held for an operator.")
    return redirect_to(request, f"/actions/{action.pk}/run/")


def rollback_context(
    action: Action, lines: Iterable[JournalEntry], activity: list[ActivityEntry], may: list[str]
) -> dict[str, Any]:
    """For the run page: the checkpoints to roll back to, and the rollback report. No query except for the report."""
    ways = rollback_targets(action, lines) if "rollback_to" in may else []
    return {"ways_back": ways[:MAX_SHOWN], "rollback_report": read_rollback_report(action, activity)}


def read_rollback_report(action: Action, activity: list[ActivityEntry]) -> dict[str, Any] | None:
    """What was found when the state before was read again, by the newest event that names such a report."""
    for event in activity:
        for digest in event.artifacts[:1] if event.verb in ENDING_VERBS else ():
            try:
                document = json.loads(read_artifact(action.tenant_id, digest))
            except (ArtifactMissing, ValueError):
                continue
            if isinstance(document, dict) and document.get("format") == ROLLBACK_FORMAT:
                return document
    return None


def describe_rollback_plan(plan: Any) -> dict[str, Any]:
    """The rollback plan for the review page: its order and mode in words, and the first steps without an undo."""
    back = plan.rollback or build_rollback_plan(plan.steps, {}, {})
    number = {s["key"]: n for n, s in enumerate(plan.steps, 1)}
    return {**back, "no_return": [number[key] for key in back["no_return"] if key in number]}


# Recovery: strategies for failed steps, and fallback actions.


MAX_FALLBACKS = 5


def describe_recovery(plan: Plan) -> list[str]:
    """The policy in sentences, with the steps that stand in for others and those that may not be left out."""
    number = {s["key"]: n for n, s in enumerate(plan.steps, 1)}
    stand_ins = [
        f"Step {number[s['key']]} runs only if step {number[s['fallback_for']]} fails and gives way."
        for s in plan.steps
        if s.get("fallback_for") in number
    ]
    kept = [str(number[s["key"]]) for s in plan.steps if s.get("may_skip") is False]
    never = [f"Never skipped: step {', '.join(kept)}."] if kept and len(kept) < len(number) else []
    return [*describe_policy(plan.recovery), *stand_ins, *never]


def fetch_fallbacks(action: Action) -> Sequence[Any]:
    """The actions that were proposed because this one failed. No query unless it could have any."""
    if not (action.plan and action.plan.recovery.get("fallback")) or action.state not in ("failed", "rolled_back"):
        return []
    found = Action.objects.filter(fallback_of=action, tenant=action.tenant_id).order_by("pk")
    return list(found.values("pk", "title", "state")[:MAX_FALLBACKS])


# The panel beside a plan: approvals, and whether the reader can decide; and the decision.


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
    """Approve exactly the plan whose digest the form carries, reject it, or request changes.

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
    """Withdraw a change request."""
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


# The other commands, one form each.


@require_POST
@require_member
def cancel_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    action = stop_resume.cancel(
        access_of(request), action_id, read_reason(request), correlation_id=correlation_of(request)
    )
    messages.success(request, "Withdrawn. Nothing was changed.")
    return redirect_to(request, page_url(action))


@require_POST
@require_member
def resume_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Resume, roll back or end a held action; for a step in doubt, with its outcome."""
    found = {"yes": True, "no": False}.get(request.POST.get("step_done", ""))
    how = request.POST.get("how", "")
    via = correlation_of(request)
    action = stop_resume.resume(
        access_of(request), action_id, read_reason(request), how=how, step_done=found, correlation_id=via
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
        access_of(request), action_id, read_reason(request), correlation_id=correlation_of(request)
    )
    if new:
        messages.success(request, "This action undoes the other one. It needs its own plan and approvals.")
    return redirect_to(request, page_url(action))


@require_POST
@require_member
def retry_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    mode = request.POST.get("mode", "") if request.POST.get("mode") in MODES else ""
    via = correlation_of(request)
    action = propose.retry(access_of(request), action_id, read_reason(request), mode=mode, correlation_id=via)
    messages.success(request, "Proposed again with a new plan and policy evaluation.")
    return redirect_to(request, page_url(action))
