"""The run page: progress, steps, verification, and the log in ranges."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.lifecycle.allowed import allowed_verbs, find_action
from actions.models import Action, JournalEntry
from actions.models.states import ENDED, HeldReason, State
from actions.pages.action.commands import fetch_fallbacks, rollback_context
from actions.pages.decorators import require_member
from actions.preflight.duration_estimate import duration_estimate, known_runs
from actions.queries.activity import ActivityEntry, fetch_activity
from actions.queries.incidents import latest_incident
from actions.queries.run_view import (
    LIVE,
    Cursor,
    LogEntry,
    build_steps,
    current_time,
    draw_graph,
    read_part,
    summarize_progress,
    timeline,
)
from actions.run.transcript import total_usage
from audit.changes.masking import visible
from audit.log.artifacts import ArtifactMissing, read_artifact
from tenants.access import Access, access_of

K = JournalEntry.Kind
MAX_UNASKED = 10_000
"""Lines that a page fetches by itself; beyond that somebody has to ask for each range."""
ATTEMPT_STARTS = {K.INTENT: "started", K.UNDO_INTENT: "undo started"}
ATTEMPT_ENDS = {
    K.RECEIPT: ("o", "done"),
    K.UNDO_RECEIPT: ("o", "undone"),
    K.FAILURE: ("e", "failed"),
    K.UNDO_FAILURE: ("e", "undo failed"),
    K.SKIP: ("w", "left out"),
}
WARNINGS = ("warning", "retry", "—")


@dataclass(frozen=True)
class LogRow:
    """One line: its number, when, which step, and how it reads (t title, i info, o good, w warning, e error)."""

    n: int
    at: datetime
    step: str
    look: str
    text: str


@dataclass(frozen=True)
class LogRange:
    lines: list[LogRow]
    after: str
    """The cursor that this range ends with: what to ask after."""
    n: int
    more: bool

    @property
    def is_long(self) -> bool:
        """Whether the page should wait for somebody to want more of it."""
        return self.more and self.n >= MAX_UNASKED


def read_log_range(action: Action, after: str = "", n: int = 0) -> LogRange:
    """Lines after a cursor, numbered on from `n`. Three queries at most."""
    part = read_part(action, Cursor.read(after))
    lines: list[LogRow] = []
    for entry in part.entries:
        lines += [
            LogRow(n + len(lines) + k, entry.at, entry.step, look, text)
            for k, (look, text) in enumerate(_entry_rows(entry), 1)
        ]
    return LogRange(lines, str(part.cursor), n + len(lines), part.more)


def _entry_rows(entry: LogEntry) -> list[tuple[str, str]]:
    if entry.kind in ATTEMPT_STARTS:
        return [_start_row(entry)]
    said = [("w" if text.lower().startswith(WARNINGS) else "i", text) for text in entry.log]
    if entry.kind == LIVE:
        return said
    look, word = ATTEMPT_ENDS.get(K(entry.kind), ("t", entry.kind.replace("_", " ")))
    facts: dict[str, Any] = entry.facts
    message, code = facts.get("message", ""), facts.get("code", "")
    if look == "e":
        return [*said, ("e", f"{word}: {message or code or 'no reason given'}")]
    if facts.get("settled_by"):
        return [*said, ("w", f"{word}, confirmed by a person")]
    if facts.get("simulated"):
        return [*said, ("o", "simulated")]
    return [*said, (look, f"{word}: {message}" if message and look == "w" else word)]


def _start_row(entry: LogEntry) -> tuple[str, str]:
    again = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
    waits = entry.facts.get("retry_at")
    if isinstance(waits, str):
        return "w", f"waits to be tried again until {datetime.fromisoformat(waits):%H:%M:%S}{again}"
    return "t", ATTEMPT_STARTS[K(entry.kind)] + again


def log_as_text(action: Action) -> str:
    """The whole log as plain text, for a download."""
    out, after, n = [], "", 0
    while True:
        part = read_log_range(action, after, n)
        out += [f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ} {visible(line.step)} {visible(line.text)}\n" for line in part.lines]
        if not part.more:
            return "".join(out)
        after, n = part.after, part.n


# The page itself, and its live part.


FEW_CHECKS = 6
REPORT_FORMAT = "interlock.verification/1"
VERDICTS = ("action.complete", "action.roll_back", "action.fail")


@require_member
def run_page(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The whole page, with the log as far as it is."""
    access = access_of(request)
    action = find_action(access, action_id)
    context = run_context(access, action) | {"here": "queue", "range": read_log_range(action)}
    return render(request, "actions/run/run.html", context)


@require_member
def run_live(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Everything but the log, in place."""
    access = access_of(request)
    return render(request, "actions/run/_live.html", run_context(access, find_action(access, action_id)))


@require_member
def log_range(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Log lines after the ones that the page has; 204 while there are none."""
    action = find_action(access_of(request), action_id)
    found: LogRange = read_log_range(action, request.GET.get("after", ""), _read_number(request, "n"))
    if not found.lines:
        return HttpResponse(status=204)
    return render(
        request, "actions/run/_log_range.html", {"action": action, "range": found, "is_live": action.state not in ENDED}
    )


@require_member
def log_download(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The whole log as a text file."""
    action = find_action(access_of(request), action_id)
    headers = {"Content-Disposition": f'attachment; filename="interlock-{action.pk}.log"'}
    return HttpResponse(log_as_text(action), content_type="text/plain; charset=utf-8", headers=headers)


def run_context(access: Access, action: Action) -> dict[str, Any]:
    """Progress, steps, events, verification, and what can be done. Five queries."""
    at = current_time()
    lines = list(action.journal_entries.order_by("pk").defer("log"))
    steps = build_steps(action, lines, at)
    activity = fetch_activity(action)
    report = read_verification_report(action, activity)
    took = action.completed_at - action.started_at if action.completed_at and action.started_at else None
    doubtful = next((s for s in steps if s.look in ("failed", "in_progress", "rolling_back")), None)
    return {
        "action": action,
        "incident": latest_incident(action),
        "plan": action.plan,
        "steps": steps,
        "progress": summarize_progress(action, steps),
        "skipped": [s for s in steps if s.look == "skipped"],
        "fallbacks": fetch_fallbacks(action),
        "graph": draw_graph(steps),
        "activity": activity,
        "report": report,
        **split_checks(report),
        "report_ok": sum(c["ok"] for c in report["checks"]) if report else 0,
        "took": took,
        "pace": duration_estimate(action, at),
        "runs_known": known_runs(action),
        "used": total_usage([line.metrics for line in lines if line.metrics]),
        "result_json": json.dumps(action.result["data"], indent=2, sort_keys=True) if action.result else "",
        "verbs": (may := allowed_verbs(access, action)),
        **rollback_context(action, lines, activity, may),
        "is_live": action.state not in ENDED,
        "is_running": action.state in (State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK),
        "held": HeldReason(action.held_reason) if action.held_reason else None,
        "doubtful": doubtful,
        "undoable": [
            s
            for s in (action.plan.steps if action.plan and not action.simulated else [])
            if s["compensation"]["kind"] in ("reversible", "lossy")
        ],
        **timeline(action, steps, at),
    }


def split_checks(report: dict[str, Any] | None) -> dict[str, Any]:
    """The report's checks, those that do not hold first; of the rest a few, the others folded."""
    checks = sorted(report["checks"], key=lambda c: c["ok"]) if report else []
    few = max(FEW_CHECKS, sum(not c["ok"] for c in checks))
    return {"shown_checks": checks[:few], "more_checks": checks[few:]}


def read_verification_report(action: Action, activity: list[ActivityEntry]) -> dict[str, Any] | None:
    """The verification report, from the artifacts of the event that it led to; None before there is one."""
    for event in activity:
        if event.verb not in VERDICTS:
            continue
        for digest in event.artifacts[:2]:
            try:
                document = json.loads(read_artifact(action.tenant_id, digest))
            except (ArtifactMissing, ValueError):
                continue
            if isinstance(document, dict) and document.get("format") == REPORT_FORMAT:
                return document
    return None


def _read_number(request: HttpRequest, name: str) -> int:
    asked = request.GET.get(name, "0")
    return int(asked) if asked.isdigit() and len(asked) < 19 else 0
