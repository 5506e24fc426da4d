"""Run: is it safe, and how do I stop it?"""

import json
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.handoff.reading import ticket_of
from actions.models import Action
from actions.pace import pace_of, runs_known
from actions.pages.activity import Happening, activity_of
from actions.pages.entry import access_of, page
from actions.pages.log import Range, as_text, range_of
from actions.pages.recovery import fallbacks_of
from actions.pages.rows import HELD_BECAUSE
from actions.pages.steps import graph, now, progress, steps_of, timeline
from actions.pages.way_back import back_context
from actions.run.metrics import total_of
from actions.states import ENDED, State
from actions.verbs import allowed, find
from audit.log.artifacts import ArtifactMissing, read_artifact
from tenants.access import Access

FEW_CHECKS = 6
REPORT = "interlock.verification/1"
VERDICTS = ("action.complete", "action.roll_back", "action.fail")
HELD = {
    "switch": "Its environment is held. It goes on by itself, from here, once somebody releases that.",
    "in_doubt": "It cannot be told whether this step took effect. Look at the target, then say what you found.",
    "rollback_failed": "A step would not be undone. Put the target right, or give up and leave it as it is.",
    "replans": "What was approved ceased to hold again and again, so it never began. Give up, then propose it again.",
    "checkpoint": "It went back to a checkpoint. It can go on from there, be rolled back wholly, or be given up.",
    "risk_spike": "What it is watched by no longer holds. Look at why, then say how to go on.",
    "quarantine": "What it would undo is in quarantine by now. Have that cleared first, then let it go on.",
}


@page
def run(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The whole page, with the log as far as it is."""
    access = access_of(request)
    action = find(access, action_id)
    context = run_context(access, action) | {"here": "queue", "range": range_of(action)}
    return render(request, "actions/run.html", context)


@page
def live(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Everything but the log, in place."""
    access = access_of(request)
    return render(request, "actions/_run_live.html", run_context(access, find(access, action_id)))


@page
def log(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Log lines after the ones that the page has; 204 while there are none."""
    action = find(access_of(request), action_id)
    found: Range = range_of(action, request.GET.get("after", ""), _number(request, "n"))
    if not found.lines:
        return HttpResponse(status=204)
    return render(
        request, "actions/_log_range.html", {"action": action, "range": found, "is_live": action.state not in ENDED}
    )


@page
def log_text(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The whole log as a text file."""
    action = find(access_of(request), action_id)
    headers = {"Content-Disposition": f'attachment; filename="interlock-{action.pk}.log"'}
    return HttpResponse(as_text(action), content_type="text/plain; charset=utf-8", headers=headers)


def run_context(access: Access, action: Action) -> dict[str, Any]:
    """Progress, steps, events, verification, and what can be done. Five queries."""
    at = now()
    lines = list(action.checkpoints.order_by("pk").defer("log"))
    steps = steps_of(action, lines, at)
    activity = activity_of(action)
    report = report_of(action, activity)
    took = action.completed_at - action.started_at if action.completed_at and action.started_at else None
    doubtful = next((s for s in steps if s.look in ("failed", "in_progress", "rolling_back")), None)
    return {
        "action": action,
        "ticket": ticket_of(action),
        "plan": action.plan,
        "steps": steps,
        "progress": progress(action, steps),
        "skipped": [s for s in steps if s.look == "skipped"],
        "fallbacks": fallbacks_of(action),
        "graph": graph(steps),
        "activity": activity,
        "report": report,
        **checks_of(report),
        "report_ok": sum(c["ok"] for c in report["checks"]) if report else 0,
        "took": took,
        "pace": pace_of(action, at),
        "runs_known": runs_known(action),
        "used": total_of([line.metrics for line in lines if line.metrics]),
        "result_json": json.dumps(action.result["data"], indent=2, sort_keys=True) if action.result else "",
        "verbs": (may := allowed(access, action)),
        **back_context(action, lines, activity, may),
        "is_live": action.state not in ENDED,
        "is_running": action.state in (State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK),
        "held_label": HELD_BECAUSE.get(action.held_reason, action.held_reason),
        "held_words": HELD.get(action.held_reason, "A person has to say how to go on."),
        "doubtful": doubtful,
        "undoable": [
            s
            for s in (action.plan.steps if action.plan and not action.simulated else [])
            if s["compensation"]["kind"] in ("reversible", "lossy")
        ],
        **timeline(action, steps, at),
    }


def checks_of(report: dict[str, Any] | None) -> dict[str, Any]:
    """The report's checks, those that do not hold first; of the rest a few, the others folded."""
    checks = sorted(report["checks"], key=lambda c: c["ok"]) if report else []
    few = max(FEW_CHECKS, sum(not c["ok"] for c in checks))
    return {"shown_checks": checks[:few], "more_checks": checks[few:]}


def report_of(action: Action, activity: list[Happening]) -> dict[str, Any] | None:
    """The verification report, from the artifacts of the event that it led to; None before there is one."""
    for event in activity:
        if event.verb not in VERDICTS:
            continue
        for digest in event.artifacts[:2]:
            try:
                document = json.loads(read_artifact(action.tenant_id, digest))
            except (ArtifactMissing, ValueError):
                continue
            if isinstance(document, dict) and document.get("format") == REPORT:
                return document
    return None


def _number(request: HttpRequest, name: str) -> int:
    asked = request.GET.get(name, "0")
    return int(asked) if asked.isdigit() and len(asked) < 19 else 0
