"""
A run as pages and API show it: its steps, timeline, graph and progress; and its log.

The log is read in parts, from a cursor: from the step journal, and for running attempts from the lines written so far.
An attempt that has ended is read from the entry that ended it; the cursor says how many of its lines the reader has
already. So no line is missing and none comes twice.
"""

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.safestring import SafeString

from actions.lifecycle.journal import AttemptKey, Journal
from actions.models import Action, JournalEntry, LogLine
from actions.models.states import ENDED, State
from actions.preflight.duration_estimate import step_estimates
from actions.run.transcript import UNDO_ENDS, Kind, has_ended, split_lines, total_usage, usage_by_step
from audit.templatetags.il import duration
from audit.ui import charts, glyphs

LIVE = "live"
BEGINS = (Kind.INTENT, Kind.UNDO_INTENT)
UNDOES = (Kind.UNDO_INTENT, *UNDO_ENDS)
MAX_ENTRIES = 400
MAX_CHARACTERS = 512 * 1024
"""Characters of log in one part; its last attempt may exceed them."""
MAX_ROWS = 20
MAX_OPEN = 16
"""Open attempts that a cursor remembers; more than can run at once."""
CURSOR = re.compile(r"(\d{1,18})(?:\.(\d{1,18})((?:~[0-9a-f]{12}\.\d{1,5}){0,16}))?\Z")


@dataclass(frozen=True)
class Cursor:
    """A reader's position: the last journal entry, the last row of log lines, and lines read of open attempts."""

    line: int = 0
    log_line: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Parse a cursor; an invalid one is the beginning."""
        found = CURSOR.match(text)
        if not found:
            return cls()
        parts = [part.split(".") for part in (found[3] or "").split("~")[1:]]
        return cls(int(found[1]), int(found[2] or 0), {name: int(count) for name, count in parts})

    def __str__(self) -> str:
        parts = "".join(f"~{name}.{count}" for name, count in list(self.seen.items())[-MAX_OPEN:])
        return f"{self.line}.{self.log_line}{parts}" if self.log_line else str(self.line)


@dataclass(frozen=True)
class LogEntry:
    """A journal entry with the unread lines of its log; or, of kind `live`, more lines of a running attempt."""

    kind: str
    step: str
    attempt: int
    at: datetime
    log: list[str]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LogPart:
    entries: list[LogEntry]
    cursor: Cursor
    more: bool
    """Whether there is more to read now."""


def read_part(
    action: Action, cursor: Cursor, *, step: str = "", most: int = MAX_ENTRIES, only_logs: bool = False
) -> LogPart:
    """
    The part after a cursor: at most `most` journal entries, with `only_logs` only those with a log.

    Three queries at most, one of them only if something was logged.
    """
    asked = action.journal_entries.filter(pk__gt=cursor.line, **({"step": step} if step else {}))
    lines, more = _lines(asked.exclude(log="") if only_logs else asked, most)
    seen, entries = dict(cursor.seen), []
    for line in lines:
        key = _key((line.step, line.attempt, line.kind in UNDOES))
        read = 0 if line.kind in BEGINS else seen.pop(key, 0)
        log = split_lines(line.log)[read:]
        entries.append(LogEntry(line.kind, line.step, line.attempt, line.at, log, line.facts))
    last, log_line = (lines[-1].pk if lines else cursor.line), cursor.log_line
    if not more:
        rows = list(_running(action, step).filter(pk__gt=log_line).order_by("pk")[: MAX_ROWS + 1])
        more = len(rows) > MAX_ROWS
        for row in rows[:MAX_ROWS]:
            log_line, key = row.pk, _key((row.step, row.attempt, row.is_undo))
            log = split_lines(row.text)[max(0, seen.get(key, 0) - row.first) :]
            seen[key] = max(seen.get(key, 0), row.first + row.lines)
            if log:
                entries.append(LogEntry(LIVE, row.step, row.attempt, row.at, log))
    return LogPart(entries, Cursor(last, log_line, seen), more)


def _lines(asked: QuerySet[JournalEntry], most: int) -> tuple[list[JournalEntry], bool]:
    """The first of these entries, within the limit of their logs, and whether there are more."""
    found: list[Any] = list(asked.order_by("pk").annotate(size=Length("log")).defer("log")[: most + 1])
    taken, room = 0, MAX_CHARACTERS
    while taken < min(len(found), most) and (room > 0 or not taken):
        room -= found[taken].size
        taken += 1
    lines: list[JournalEntry] = found[:taken]
    logged = [line.pk for line in found[:taken] if line.size]
    texts = dict(JournalEntry.objects.filter(pk__in=logged).values_list("pk", "log")) if logged else {}
    for line in lines:
        line.log = texts.get(line.pk, "")
    return lines, len(found) > taken


def _running(action: Action, step: str) -> QuerySet[LogLine]:
    """Log lines of attempts that have not ended."""
    rows = action.log_lines.exclude(has_ended())
    return rows.filter(step=step) if step else rows


def _key(attempt: AttemptKey) -> str:
    step, number, is_undo = attempt
    return sha256(f"{step}\0{number}\0{is_undo:d}".encode()).hexdigest()[:12]


# Steps, timeline, graph and progress.


STEP_LOOKS = {
    "pending": "pending",
    "open": "in_progress",
    "waiting": "waiting",
    "done": "completed",
    "failed": "failed",
    "skipped": "skipped",
    "undoing": "rolling_back",
    "undone": "rolled_back",
    "undo_failed": "failed",
}
ENTRY_LOOKS = {
    Kind.RECEIPT: "completed",
    Kind.FAILURE: "failed",
    Kind.SKIP: "skipped",
    Kind.UNDO_RECEIPT: "rolled_back",
    Kind.UNDO_FAILURE: "failed",
}
LOOK_LABELS = {"completed": "done", "pending": "pending", "skipped": "skipped", "waiting": "waiting to retry"}
CURRENT_LOOKS = ("in_progress", "waiting", "failed", "rolling_back", "pending")
MAX_DRAWN = 60
"""Rows of the timeline; a longer run shows the steps around the current one."""
MAX_IN_GRAPH = 16
SHORTEST_S = 0.02
MAX_SEGMENTS = 40


@dataclass
class StepView:
    """
    One step of the plan with its state. `bars` are (start, end, look) in seconds since the run started.

    `fallback_for`: the step that it replaces on failure. `expected`: median and 90th percentile in seconds.
    """

    n: int
    key: str
    title: str
    target: str
    after: list[str]
    fallback_for: str = ""
    look: str = "pending"
    attempts: int = 0
    bars: list[tuple[float, float, str]] = field(default_factory=list)
    took: float | None = None
    error: str = ""
    used: dict[str, Any] | None = None
    expected: list[float] | None = None
    is_unused_fallback: bool = False
    """Whether it is a fallback step that was not needed so far."""
    retry_at: datetime | None = None
    """When it is retried, while it waits for that."""

    @property
    def words(self) -> str:
        label = LOOK_LABELS.get(self.look, glyphs.LABELS.get(self.look, self.look).lower())
        label = "only if another fails" if self.is_unused_fallback else label
        return f"{label}, {duration(self.took)}" if self.took is not None else label


def build_steps(action: Action, lines: list[JournalEntry], now: datetime) -> list[StepView]:
    """The plan's steps with their states, from the journal's entries in order."""
    plan, journal, used, estimates = action.plan, Journal.of(lines), usage_by_step(lines), step_estimates(action)
    steps = [
        StepView(n, s["key"], s["title"], s["target"], list(s.get("after", [])), s.get("fallback_for", ""))
        for n, s in enumerate(plan.steps if plan else [], 1)
    ]
    for k, step in enumerate(steps):
        record = journal[step.key]
        step.look, step.attempts = STEP_LOOKS.get(record.shown(now), "pending"), record.attempt
        step.retry_at = record.retry_at if step.look == "waiting" else None
        step.is_unused_fallback = bool(step.fallback_for) and step.look == "pending"
        step.used, step.expected = total_usage(used.get(step.key, [])), estimates[k] if estimates else None
        if record.state in ("failed", "undo_failed"):
            step.error = str(record.facts.get("message", ""))
    if action.started_at:
        _add_bars(steps, lines, action.started_at, None if action.state in ENDED else now)
    return steps


def _add_bars(steps: list[StepView], lines: list[JournalEntry], start: datetime, now: datetime | None) -> None:
    """The bars of each step: its attempts, and its waits for a retry."""
    by_key = {s.key: s for s in steps}
    begun: dict[str, tuple[datetime, datetime]] = {}
    for line in lines:
        if line.kind in (Kind.INTENT, Kind.UNDO_INTENT):
            due = line.facts.get("retry_at")
            begun[line.step] = line.at, datetime.fromisoformat(due) if due else line.at
        elif line.step in by_key and line.step in begun:
            _add_bar(
                by_key[line.step], *begun.pop(line.step), line.at, start, ENTRY_LOOKS.get(Kind(line.kind), "completed")
            )
    for key, (since, due) in begun.items() if now else ():
        if now and key in by_key:
            _add_bar(by_key[key], since, due, now, start, by_key[key].look)


def _add_bar(step: StepView, since: datetime, due: datetime, until: datetime, start: datetime, look: str) -> None:
    """Add a bar for the wait, if any, and one for the attempt."""
    due = min(due, until)
    if due > since:
        step.bars.append((_seconds(since - start), _seconds(due - start), "waiting"))
    if until > due or due == since:
        step.bars.append((_seconds(due - start), max(_seconds(until - start), _seconds(due - start)), look))
        step.took = (step.took or 0) + _seconds(until - due)


def _seconds(span: timedelta) -> float:
    return max(span.total_seconds(), 0)


def timeline(action: Action, steps: list[StepView], now: datetime) -> dict[str, Any]:
    """The Gantt chart and its axis, with estimates for pending steps. Empty before the start."""
    if action.started_at is None or not steps:
        return {}
    drawn = visible_window(steps)
    live = action.state in (State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK)
    at = _seconds(now - action.started_at)
    guesses = expected_bars(steps, at) if action.state == State.IN_PROGRESS and not action.simulated else {}
    bars = [[*s.bars, *guesses.get(s.key, [])] for s in drawn]
    last = max((b for row in bars for _, b, _ in row), default=0)
    total = max(at if live else last, last, SHORTEST_S) * (1.12 if live else 1.02)
    ticks = round_ticks(total)
    place = {s.key: k for k, s in enumerate(drawn)}
    deps = [(place[a], k) for k, s in enumerate(drawn) for a in s.after if a in place]
    chart = charts.gantt(bars, total, ticks, at if live else None, "now", deps)
    return {
        "gantt": chart,
        "axis": charts.axis([(duration(t), 100 * t / total) for t in ticks]),
        "drawn": drawn,
        "hidden": len(steps) - len(drawn),
    }


def expected_bars(steps: list[StepView], at: float) -> dict[str, list[tuple[float, float, str]]]:
    """Estimated bars of open and pending steps; none without an estimate."""
    ends: dict[str, float] = {}
    found: dict[str, list[tuple[float, float, str]]] = {}
    for step in steps:
        if step.expected is None or step.is_unused_fallback:
            continue
        if step.look == "pending":
            begins = max([at, *(ends[key] for key in step.after if key in ends)])
            ends[step.key] = begins + step.expected[0]
        elif step.look == "in_progress" and step.bars:
            begins, ends[step.key] = at, max(at, step.bars[-1][0] + step.expected[0])
        else:
            continue
        if ends[step.key] > begins:
            found[step.key] = [(begins, ends[step.key], "est")]
    return found


def round_ticks(total: float) -> list[float]:
    """Three to seven round values within a span of seconds."""
    rough = total / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
    return [step * k for k in range(1, int(total / step) + 1) if step * k < total * 0.96]


def visible_window(steps: list[StepView]) -> list[StepView]:
    """The steps to draw: all, or those around the current one."""
    if len(steps) <= MAX_DRAWN:
        return steps
    here = next((k for k, s in enumerate(steps) if s.look in CURRENT_LOOKS and not s.is_unused_fallback), len(steps))
    first = min(max(here - MAX_DRAWN // 2, 0), len(steps) - MAX_DRAWN)
    return steps[first : first + MAX_DRAWN]


def draw_graph(steps: list[StepView]) -> SafeString | str:
    """The steps' order as a graph, if it is small enough to read."""
    if not 1 < len(steps) <= MAX_IN_GRAPH:
        return ""
    column: dict[str, int] = {}
    for s in steps:
        column[s.key] = max((column[a] + 1 for a in s.after if a in column), default=0)
    row: dict[int, int] = {}
    nodes = []
    for s in steps:
        k = column[s.key]
        name = s.target.rpartition("/")[2] or s.title
        sub = duration(s.took) if s.took is not None else s.target.rpartition("/")[0] or "to come"
        nodes.append(
            {
                "id": s.key,
                "col": k,
                "row": row.get(k, 0),
                "name": truncate(name, 14),
                "sub": truncate(sub, 16),
                "title": s.title,
                "state": s.look,
            }
        )
        row[k] = row.get(k, 0) + 1
    edges = [] if is_chain(steps) else [(a, s.key) for s in steps for a in s.after if a in column]
    if not edges and len(steps) > 8:
        return ""
    return charts.dag(wrap_nodes(nodes) if not edges else nodes, edges, glyphs.glyph)


def is_chain(steps: list[StepView]) -> bool:
    """Whether the steps follow one another in the listed order."""
    return all(list(s.after) == [t.key] for t, s in zip(steps, steps[1:], strict=False))


def wrap_nodes(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Place independent steps side by side instead of in one tall column."""
    return [{**node, "col": k % 6, "row": k // 6} for k, node in enumerate(nodes)]


def truncate(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def summarize_progress(action: Action, steps: list[StepView]) -> dict[str, Any]:
    """The progress of the run: per cent, bar and counts. Fallback steps count once they are needed."""
    needed = [s for s in steps if not s.is_unused_fallback]
    total, done = len(needed), sum(s.look in ("completed", "skipped") for s in needed)
    share = 100 / total if total else 100.0
    hue = {
        "completed": "done",
        "failed": "bad",
        "rolled_back": "back",
        "rolling_back": "back",
        "in_progress": "run",
        "skipped": "done",
        "waiting": "wait",
    }
    segs = [(0.0, 100.0, done * share, "back" if action.state in (State.ROLLING_BACK, State.ROLLED_BACK) else "done")]
    if 0 < total <= MAX_SEGMENTS:
        filled = [{"in_progress": 0.5}.get(s.look, 1.0) if s.look in hue else 0.0 for s in needed]
        segs = [
            (k * share, (k + 1) * share, (k + filled[k]) * share, hue.get(s.look, "run")) for k, s in enumerate(needed)
        ]
    looks = ("completed", "in_progress", "waiting", "failed", "skipped", "rolled_back", "pending")
    counts = {look: sum(s.look == look for s in needed) for look in looks}
    return {
        "percent": round(100 * done / total) if total else 100 if action.state == State.COMPLETED else 0,
        "bar": charts.segments(segs),
        "done": done,
        "total": total,
        "tally": {look: n for look, n in counts.items() if n},
    }


def current_time() -> datetime:
    return timezone.now()
