"""
The transcript of an attempt at a step: its resource usage and its log lines.

Units of usage: seconds and bytes; None where the system cannot measure it. docs/watching.md explains each number. New
log lines are flushed to the database about once a second, and read back after a crash.
"""

import json
import mmap
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog
from django.db import DataError, IntegrityError, connection
from django.db.models import Exists, OuterRef, Q
from django.dispatch import Signal

from actions.lifecycle.context import ActionContext
from actions.lifecycle.journal import AttemptKey
from actions.models import JournalEntry, LogLine
from actions.preflight.plan import sanitize_text

REPORTED = ("cpu_s", "read_bytes", "written_bytes", "peak_memory_bytes")
"""Usage outside its thread that an executor may report through `ctx.measure`."""
MAX_VALUE = 2**53 - 1
SUMMED = ("duration_s", "cpu_s", "read_bytes", "written_bytes")


class Meter:
    """
    Measures one attempt, from construction to `read`, both in the attempt's thread; `look` may be called from any.
    """

    def __init__(self) -> None:
        self.began, self.cpu_began, self.io_began = time.monotonic(), time.thread_time(), io_of_thread()
        self.worker_memory = memory_of_worker()
        self.reported: dict[str, float] = {}

    def report(self, **used: float) -> None:
        """
        Add usage that the executor reports from outside its thread; for memory the maximum counts.

        Names: `REPORTED`. Unknown names and impossible numbers are ignored: they must not fail a step.
        """
        for name, value in used.items():
            if name not in REPORTED or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not 0 <= value <= MAX_VALUE:
                continue
            known = self.reported.get(name, 0)
            self.reported[name] = max(known, value) if name == "peak_memory_bytes" else min(MAX_VALUE, known + value)

    def look(self) -> None:
        """Sample the worker's memory."""
        self.worker_memory = max(self.worker_memory or 0, memory_of_worker() or 0) or None

    def read(self) -> dict[str, Any]:
        """The attempt's metrics, for its journal entry."""
        self.look()
        theirs, peak = self.reported, self.reported.get("peak_memory_bytes")
        io = _difference(io_of_thread(), self.io_began)
        return {
            "duration_s": round(time.monotonic() - self.began, 6),
            "cpu_s": round(time.thread_time() - self.cpu_began + theirs.get("cpu_s", 0), 6),
            "peak_memory_bytes": int(peak) if peak is not None else self.worker_memory,
            "memory_of": "step" if peak is not None else "worker",
            "read_bytes": _sum(io[0] if io else None, theirs.get("read_bytes")),
            "written_bytes": _sum(io[1] if io else None, theirs.get("written_bytes")),
        }


def io_of_thread() -> tuple[int, int] | None:
    """Bytes read and written by this thread; None where the system does not count them."""
    with suppress(OSError, ValueError, IndexError), open("/proc/thread-self/io", "rb") as file:
        lines = file.read().split(b"\n", 2)
        return int(lines[0].split()[1]), int(lines[1].split()[1])
    return None


def memory_of_worker() -> int | None:
    """Resident memory of this process, shared by all its attempts; None where the system does not report it."""
    with suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE
    return None


def _difference(now: tuple[int, int] | None, then: tuple[int, int] | None) -> tuple[int, int] | None:
    return (max(0, now[0] - then[0]), max(0, now[1] - then[1])) if now and then else None


def _sum(ours: int | None, theirs: float | None) -> int | None:
    return None if ours is None and theirs is None else int(min(MAX_VALUE, (ours or 0) + (theirs or 0)))


def usage_by_step(lines: Iterable[JournalEntry]) -> dict[str, list[dict[str, Any]]]:
    """The metrics of each attempt, undo attempts included, by step."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line.metrics:
            found.setdefault(line.step, []).append(line.metrics)
    return found


def total_usage(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The total of several attempts: sums, and the largest memory. Unknown of all: None. Without attempts: None."""
    if not parts:
        return None
    found: dict[str, Any] = {}
    for name in SUMMED:
        known = [p[name] for p in parts if p.get(name) is not None]
        found[name] = round(sum(known), 6) if known else None
    most = max(parts, key=lambda p: p.get("peak_memory_bytes") or 0)
    found["peak_memory_bytes"], found["memory_of"] = most.get("peak_memory_bytes"), most.get("memory_of", "worker")
    return {"attempts": len(parts), **found}


def usage_facts(metrics: dict[str, Any] | None) -> dict[str, int]:
    """The metrics for an event, as whole numbers."""
    if not metrics:
        return {}
    ms = {f"{name}_ms": round(1000 * metrics[f"{name}_s"]) for name in ("duration", "cpu")}
    return ms | {k: v for k in ("read_bytes", "written_bytes") if (v := metrics.get(k)) is not None}


# The log lines of an attempt, in memory.


MAX_LOG_LINES = 2_000
MAX_LINE_CHARACTERS = 2_000
RESUMED_LINE = "— The worker was lost or stopped here; another one took over the step. —"


class AttemptLog(list[str]):
    """
    The lines of one attempt, in order. Its thread appends, the runner's thread reads; neither waits for the other.

    `earlier`: lines that a lost worker wrote of the same attempt. `kept`: how many lines are in the database.
    """

    def __init__(self, attempt: AttemptKey, earlier: list[str] | None = None) -> None:
        super().__init__(earlier or [])
        self.attempt, self.kept, self.left_out, self.is_over = attempt, len(self), 0, False
        self.meter, self.began = Meter(), time.monotonic()
        if self:
            self.append(RESUMED_LINE)

    def note(self, text: Any) -> None:
        """Append one line of an executor, truncated."""
        if len(self) < MAX_LOG_LINES:
            self.append(" ".join(sanitize_text(text).splitlines())[:MAX_LINE_CHARACTERS])
            return
        if not self.left_out:
            self.append(f"… output after the first {MAX_LOG_LINES:,} lines is omitted.")
        self.left_out += 1

    def used(self) -> dict[str, Any]:
        """The attempt's metrics, at its end. Call in its own thread."""
        self.is_over = True
        return {**self.meter.read(), "log_lines": len(self), "log_lines_left_out": self.left_out}


# Flush new lines of running attempts to the database, in one statement.


log = structlog.get_logger(__name__)
lines_written = Signal()
"""Sent after lines were written: `contexts` lists the runs that they belong to."""
MIN_AGE_S = 0.3
"""Lines of younger attempts are not flushed yet."""
MAX_LINES = 200
"""In one row."""
MAX_BYTES = 1024 * 1024
"""In one statement; what is beyond comes with the next."""

COLUMNS = {
    "id": "uuid",
    "lease": "bigint",
    "step": "text",
    "attempt": "integer",
    "is_undo": "boolean",
    "first": "integer",
    "lines": "integer",
    "text": "text",
}
_POSTGRES = "jsonb_to_recordset(%s::jsonb) AS v({})".format(", ".join(f"w_{n} {t}" for n, t in COLUMNS.items()))
_SQLITE = "(SELECT {} FROM json_each(%s)) AS v".format(
    ", ".join(f"json_extract(value, '$.w_{n}') AS w_{n}" for n in COLUMNS)
)
_NOW = {"postgresql": "statement_timestamp()", "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')"}


def flush_lines(contexts: Iterable[ActionContext]) -> int:
    """Flush new lines of running attempts; return how many. One statement, or none."""
    found = list(_new_rows(contexts))
    if found:
        _write([row for _, _, row in found])
        for _, transcript, row in found:
            transcript.kept += row["w_lines"]
        lines_written.send(None, contexts=list({context.action.pk: context for context, _, _ in found}.values()))
    return sum(row["w_lines"] for _, _, row in found)


def _new_rows(contexts: Iterable[ActionContext]) -> Iterator[tuple[ActionContext, AttemptLog, dict[str, Any]]]:
    """The rows to write, at most what one statement should hold."""
    now, room = time.monotonic(), MAX_BYTES
    for context, transcript in _under_way(contexts):
        transcript.meter.look()
        if now - transcript.began < MIN_AGE_S:
            continue
        for row in _rows(context, transcript):
            if room <= 0:
                return
            room -= len(row["w_text"])
            yield context, transcript, row


def _under_way(contexts: Iterable[ActionContext]) -> Iterator[tuple[ActionContext, AttemptLog]]:
    """The transcripts of running attempts; ended ones are dropped."""
    for context in contexts:
        for key, transcript in list(context.transcripts.items()):
            assert isinstance(transcript, AttemptLog)
            if transcript.is_over:
                context.transcripts.pop(key, None)
            else:
                yield context, transcript


def _rows(context: ActionContext, transcript: AttemptLog) -> Iterator[dict[str, Any]]:
    step, attempt, is_undo = transcript.attempt
    fresh, first = transcript[transcript.kept :], transcript.kept
    for n in range(0, len(fresh), MAX_LINES):
        part = fresh[n : n + MAX_LINES]
        yield {
            "w_id": context.action.pk if connection.vendor == "postgresql" else context.action.pk.hex,
            "w_lease": context.lease,
            "w_step": step,
            "w_attempt": attempt,
            "w_is_undo": is_undo,
            "w_first": first + n,
            "w_lines": len(part),
            "w_text": "\n".join(part),
        }


def _write(rows: list[dict[str, Any]]) -> None:
    """
    Insert the lines of actions that the lease still holds, in their order: a join alone has none, and readers go by the
    order of rows. Unstorable lines are dropped; their receipt has them again.
    """
    table, source = LogLine._meta.db_table, _POSTGRES if connection.vendor == "postgresql" else _SQLITE
    statement = f"""
        INSERT INTO {table} (action_id, step, attempt, is_undo, first, lines, text, at)
        SELECT a.id, v.w_step, v.w_attempt, v.w_is_undo, v.w_first, v.w_lines, v.w_text, {_NOW[connection.vendor]}
        FROM {source} JOIN actions_action a ON a.id = v.w_id WHERE a.lease_id = v.w_lease
        ORDER BY v.w_id, v.w_step, v.w_attempt, v.w_is_undo, v.w_first
        ON CONFLICT DO NOTHING"""
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, [json.dumps(rows, default=str)])
    except (DataError, IntegrityError) as error:
        log.warning("live_lines_lost", lines=sum(r["w_lines"] for r in rows), error=str(error))


Kind = JournalEntry.Kind

ENDS = (Kind.RECEIPT, Kind.FAILURE, Kind.SKIP)
UNDO_ENDS = (Kind.UNDO_RECEIPT, Kind.UNDO_FAILURE)


def has_ended() -> Q:
    """Condition on log lines: the journal has the end of their attempt."""
    same = JournalEntry.objects.filter(action=OuterRef("action"), step=OuterRef("step"), attempt=OuterRef("attempt"))
    forth, back = same.filter(kind__in=ENDS), same.filter(kind__in=UNDO_ENDS)
    return Q(Exists(forth), is_undo=False) | Q(Exists(back), is_undo=True)


def lines_of_earlier_workers(action_ids: Iterable[UUID]) -> dict[UUID, dict[AttemptKey, list[str]]]:
    """Lines that earlier workers wrote of these actions' attempts, by action and attempt. One query."""
    found: dict[UUID, dict[AttemptKey, list[str]]] = {}
    for row in LogLine.objects.filter(action__in=list(action_ids)).order_by("first"):
        lines = found.setdefault(row.action_id, {}).setdefault((row.step, row.attempt, row.is_undo), [])
        if row.first == len(lines):  # never with a gap: readers count from the first line
            lines.extend(split_lines(row.text))
    return found


def delete_ended() -> int:
    """Delete the log lines of ended attempts; return how many. One statement."""
    return LogLine.objects.filter(has_ended()).delete()[0]


def split_lines(text: str) -> list[str]:
    return text.split("\n") if text else []
