"""Stopping a run and going back: what would happen if, before anybody says so, and what came of it."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from actions import verbs
from actions.going_back import back_to, ways_back
from actions.ledger import Ledger
from actions.models import Action, Checkpoint
from actions.pages.activity import Happening
from actions.pages.entry import access_of, correlation_of, go, page
from actions.preflight.way_back import FINAL, UNDOABLE, in_order_of_undoing, way_back
from actions.run.read_back import FORMAT
from audit.log.artifacts import ArtifactMissing, read_artifact

MOST_SHOWN = 12
ENDS = ("action.finish_rollback", "action.fail", "action.hold")


@require_http_methods(["GET", "HEAD", "POST"])
@page
def abort(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """First what stopping would do; on POST, sent from there, the wish to stop."""
    access = access_of(request)
    if request.method == "POST":
        reason = reason_of(request)
        action = verbs.abort(access, action_id, reason, correlation_id=correlation_of(request))
        messages.warning(request, "Asked to stop. The run stops at its next checkpoint and undoes what was done.")
        return go(request, f"/actions/{action.pk}/run/")
    action = verbs.find(access, action_id)
    may = "abort" in verbs.allowed(access, action)
    context = {"action": action, "here": "queue", "may": may, "plan": action.plan, **stopping(action)}
    if not request.headers.get("HX-Request"):
        return render(request, "actions/abort.html", context)
    keeps_running = "keep" in request.GET or not may
    return render(request, "actions/_abort.html" if keeps_running else "actions/_abort_armed.html", context)


def stopping(action: Action) -> dict[str, Any]:
    """What stopping now would do: which steps run, what would be undone in which order, and what cannot be."""
    steps = action.plan.steps if action.plan else []
    back = (action.plan.rollback if action.plan else {}) or way_back(steps, {}, {})
    ledger = Ledger.of(action.checkpoints.order_by("pk"), action.simulated)
    runs = [s for s in steps if ledger[s["key"]].state == "open"]
    stands = ledger.with_effect(steps)
    undone = [s for s in in_order_of_undoing(stands, back) if s["compensation"]["kind"] in UNDOABLE]
    return {
        "runs": runs[:MOST_SHOWN],
        "undone": undone[:MOST_SHOWN],
        "undone_more": max(0, len(undone) - MOST_SHOWN),
        "undone_count": len(undone),
        "stays": [s for s in stands if s["compensation"]["kind"] == FINAL][:MOST_SHOWN],
        "back": back,
    }


def roll_back_to(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Take a run back to just after the step that the form names."""
    via, to = correlation_of(request), request.POST.get("to", "").replace("\x00", "")[:200]
    action = back_to(access_of(request), action_id, to, reason_of(request), correlation_id=via)
    messages.warning(request, "It goes back to that checkpoint, and is held there until somebody says how to go on.")
    return go(request, f"/actions/{action.pk}/run/")


def reason_of(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\x00", "").strip()[:4_000]


def back_context(
    action: Action, lines: Iterable[Checkpoint], activity: list[Happening], may: list[str]
) -> dict[str, Any]:
    """For the run page: the checkpoints to go back to, and the report of a way back. No query but for the report."""
    ways = ways_back(action, lines) if "rollback_to" in may else []
    return {"ways_back": ways[:MOST_SHOWN], "way_back_report": report_of(action, activity)}


def report_of(action: Action, activity: list[Happening]) -> dict[str, Any] | None:
    """What was found when the state before was read again, by the newest event that names such a report."""
    for event in activity:
        for digest in event.artifacts[:1] if event.verb in ENDS else ():
            try:
                document = json.loads(read_artifact(action.tenant_id, digest))
            except (ArtifactMissing, ValueError):
                continue
            if isinstance(document, dict) and document.get("format") == FORMAT:
                return document
    return None


def said(plan: Any) -> dict[str, Any]:
    """The way back of a plan for the review page: its order and mode in words, and the first steps without one."""
    back = plan.rollback or way_back(plan.steps, {}, {})
    number = {s["key"]: n for n, s in enumerate(plan.steps, 1)}
    return {**back, "no_return": [number[key] for key in back["no_return"] if key in number]}
