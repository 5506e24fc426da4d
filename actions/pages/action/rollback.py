"""Stopping a run and going back: what would happen if, before anybody says so, and what came of it."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from actions.commands import stop_resume
from actions.commands.rollback import rollback_targets, rollback_to_step
from actions.lifecycle import allowed
from actions.lifecycle.journal import Journal
from actions.models import Action, JournalEntry, Plan
from actions.pages.decorators import access_of, correlation_of, redirect_to, require_member
from actions.preflight.step_graph import IRREVERSIBLE, UNDOABLE, build_rollback_plan, undo_order
from actions.queries.activity import ActivityEntry
from actions.run.rollback import ROLLBACK_FORMAT
from actions.types.shared.recovery_policy import describe_policy
from audit.log.artifacts import ArtifactMissing, read_artifact

MAX_SHOWN = 12
ENDING_VERBS = ("action.finish_rollback", "action.fail", "action.hold")


@require_http_methods(["GET", "HEAD", "POST"])
@require_member
def abort_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """First what stopping would do; on POST, sent from there, the wish to stop."""
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


def read_reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\x00", "").strip()[:4_000]


def rollback_context(
    action: Action, lines: Iterable[JournalEntry], activity: list[ActivityEntry], may: list[str]
) -> dict[str, Any]:
    """For the run page: the checkpoints to go back to, and the report of a way back. No query but for the report."""
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
    """The way back of a plan for the review page: its order and mode in words, and the first steps without one."""
    back = plan.rollback or build_rollback_plan(plan.steps, {}, {})
    number = {s["key"]: n for n, s in enumerate(plan.steps, 1)}
    return {**back, "no_return": [number[key] for key in back["no_return"] if key in number]}


# What a plan does about steps that fail, and what an action fell back to, for its pages.


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
