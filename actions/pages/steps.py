"""A run drawn from its step ledger: each step's standing, the timeline, the order as a graph, and progress."""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString

from actions.ledger import Ledger
from actions.models import Action, Checkpoint
from actions.pace import steps_of as paces_of
from actions.run.metrics import total_of, used_by
from actions.states import ENDED, State
from audit.templatetags.il import duration
from audit.ui import charts, glyphs

K = Checkpoint.Kind
LOOKS = {
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
ENDS = {
    K.RECEIPT: "completed",
    K.FAILURE: "failed",
    K.SKIP: "skipped",
    K.UNDO_RECEIPT: "rolled_back",
    K.UNDO_FAILURE: "failed",
}
WORDS = {"completed": "done", "pending": "to come", "skipped": "left out", "waiting": "waits to be tried again"}
IN_HAND = ("in_progress", "waiting", "failed", "rolling_back", "pending")
MOST_DRAWN = 60
"""Rows of the timeline; a longer run shows the steps around the one in hand."""
MOST_IN_GRAPH = 16
SHORTEST_S = 0.02
MOST_SEGMENTS = 40


@dataclass
class Step:
    """One step of the plan as it stands. `bars` are (start, end, look) in seconds since the run started.

    `stands_in_for`: the step whose failure it waits for. `expected`: median and 90th percentile in seconds.
    """

    n: int
    key: str
    title: str
    target: str
    after: list[str]
    stands_in_for: str = ""
    look: str = "pending"
    attempts: int = 0
    bars: list[tuple[float, float, str]] = field(default_factory=list)
    took: float | None = None
    error: str = ""
    used: dict[str, Any] | None = None
    expected: list[float] | None = None
    reserve: bool = False
    """Whether it stands in for another and was not needed so far."""
    retry_at: datetime | None = None
    """When it is tried again, while it waits for that."""

    @property
    def words(self) -> str:
        label = WORDS.get(self.look, glyphs.LABELS.get(self.look, self.look).lower())
        label = "only if another fails" if self.reserve else label
        return f"{label}, {duration(self.took)}" if self.took is not None else label


def steps_of(action: Action, lines: list[Checkpoint], now: datetime) -> list[Step]:
    """The plan's steps with their standing, from the ledger's lines in order."""
    plan, ledger, used, paces = action.plan, Ledger.of(lines), used_by(lines), paces_of(action)
    steps = [
        Step(n, s["key"], s["title"], s["target"], list(s.get("after", [])), s.get("fallback_for", ""))
        for n, s in enumerate(plan.steps if plan else [], 1)
    ]
    for k, step in enumerate(steps):
        record = ledger[step.key]
        step.look, step.attempts = LOOKS.get(record.shown(now), "pending"), record.attempt
        step.retry_at = record.retry_at if step.look == "waiting" else None
        step.reserve = bool(step.stands_in_for) and step.look == "pending"
        step.used, step.expected = total_of(used.get(step.key, [])), paces[k] if paces else None
        if record.state in ("failed", "undo_failed"):
            step.error = str(record.facts.get("message", ""))
    if action.started_at:
        _draw(steps, lines, action.started_at, None if action.state in ENDED else now)
    return steps


def _draw(steps: list[Step], lines: list[Checkpoint], start: datetime, now: datetime | None) -> None:
    """The bars of each step: its attempts, and the times it waited to be tried again."""
    by_key = {s.key: s for s in steps}
    begun: dict[str, tuple[datetime, datetime]] = {}
    for line in lines:
        if line.kind in (K.INTENT, K.UNDO_INTENT):
            due = line.facts.get("retry_at")
            begun[line.step] = line.at, datetime.fromisoformat(due) if due else line.at
        elif line.step in by_key and line.step in begun:
            _bars(by_key[line.step], *begun.pop(line.step), line.at, start, ENDS.get(K(line.kind), "completed"))
    for key, (since, due) in begun.items() if now else ():
        if now and key in by_key:
            _bars(by_key[key], since, due, now, start, by_key[key].look)


def _bars(step: Step, since: datetime, due: datetime, until: datetime, start: datetime, look: str) -> None:
    """A bar for the time that it waited, if any, and one for the attempt."""
    due = min(due, until)
    if due > since:
        step.bars.append((_s(since - start), _s(due - start), "waiting"))
    if until > due or due == since:
        step.bars.append((_s(due - start), max(_s(until - start), _s(due - start)), look))
        step.took = (step.took or 0) + _s(until - due)


def _s(span: timedelta) -> float:
    return max(span.total_seconds(), 0)


def timeline(action: Action, steps: list[Step], now: datetime) -> dict[str, Any]:
    """The Gantt chart and its axis, with what is expected of steps to come. Empty before the start."""
    if action.started_at is None or not steps:
        return {}
    drawn = window(steps)
    live = action.state in (State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK)
    at = _s(now - action.started_at)
    guesses = guessed(steps, at) if action.state == State.IN_PROGRESS and not action.simulated else {}
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


def guessed(steps: list[Step], at: float) -> dict[str, list[tuple[float, float, str]]]:
    """Where the bars of open and coming steps would lie if they took as long as usual; none where that is not known."""
    ends: dict[str, float] = {}
    found: dict[str, list[tuple[float, float, str]]] = {}
    for step in steps:
        if step.expected is None or step.reserve:
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
    """Three to seven round moments within a span of seconds."""
    rough = total / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
    return [step * k for k in range(1, int(total / step) + 1) if step * k < total * 0.96]


def window(steps: list[Step]) -> list[Step]:
    """The steps to draw: all, or those around the one in hand."""
    if len(steps) <= MOST_DRAWN:
        return steps
    here = next((k for k, s in enumerate(steps) if s.look in IN_HAND and not s.reserve), len(steps))
    first = min(max(here - MOST_DRAWN // 2, 0), len(steps) - MOST_DRAWN)
    return steps[first : first + MOST_DRAWN]


def graph(steps: list[Step]) -> SafeString | str:
    """The steps' order as a graph, where it is small enough to read."""
    if not 1 < len(steps) <= MOST_IN_GRAPH:
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
                "name": clipped(name, 14),
                "sub": clipped(sub, 16),
                "title": s.title,
                "state": s.look,
            }
        )
        row[k] = row.get(k, 0) + 1
    edges = [] if is_chain(steps) else [(a, s.key) for s in steps for a in s.after if a in column]
    if not edges and len(steps) > 8:
        return ""
    return charts.dag(wrapped(nodes) if not edges else nodes, edges, glyphs.glyph)


def is_chain(steps: list[Step]) -> bool:
    """Whether the steps simply follow one another, as they are listed."""
    return all(list(s.after) == [t.key] for t, s in zip(steps, steps[1:], strict=False))


def wrapped(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Independent steps side by side instead of in one tall column."""
    return [{**node, "col": k % 6, "row": k // 6} for k, node in enumerate(nodes)]


def clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def progress(action: Action, steps: list[Step]) -> dict[str, Any]:
    """How far the run is: per cent, the bar, and in words. Steps that only stand in count once they are needed."""
    needed = [s for s in steps if not s.reserve]
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
    if 0 < total <= MOST_SEGMENTS:
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


def now() -> datetime:
    return timezone.now()
