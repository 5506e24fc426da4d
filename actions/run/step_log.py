"""The log of an attempt: buffer its lines, flush them to the database about once a second, read them back after a
crash.
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import structlog
from django.db import DataError, IntegrityError, connection
from django.db.models import Exists, OuterRef, Q
from django.dispatch import Signal

from actions.lifecycle.context import ActionContext
from actions.lifecycle.journal import AttemptKey
from actions.models import JournalEntry, LogLine
from actions.preflight.sanitize import sanitize_text
from actions.run.resource_usage import Meter

MAX_LOG_LINES = 2_000
MAX_LINE_CHARACTERS = 2_000
RESUMED_LINE = "— The worker was lost or stopped here; another one took the step up. —"


class AttemptLog(list[str]):
    """
    The lines of one attempt, in order. Its thread appends, the runner's reads; neither waits for the other.

    `earlier`: what a worker that was lost had written of the same attempt. `kept`: how many lines are durable already
    (`actions.run.step_log`).
    """

    def __init__(self, attempt: AttemptKey, earlier: list[str] | None = None) -> None:
        super().__init__(earlier or [])
        self.attempt, self.kept, self.left_out, self.is_over = attempt, len(self), 0, False
        self.meter, self.began = Meter(), time.monotonic()
        if self:
            self.append(RESUMED_LINE)

    def note(self, text: Any) -> None:
        """Take one line from an executor, cut to what is kept."""
        if len(self) < MAX_LOG_LINES:
            self.append(" ".join(sanitize_text(text).splitlines())[:MAX_LINE_CHARACTERS])
            return
        if not self.left_out:
            self.append(f"… output after the first {MAX_LOG_LINES:,} lines is omitted.")
        self.left_out += 1

    def used(self) -> dict[str, Any]:
        """The attempt's metrics, at its end. From its own thread."""
        self.is_over = True
        return {**self.meter.read(), "log_lines": len(self), "log_lines_left_out": self.left_out}


# What running steps write, shown while they run: new lines become rows about once a second, in one statement.


log = structlog.get_logger(__name__)
lines_written = Signal()
"""Sent after lines were written: `contexts` is a list of those that they belong to."""
MIN_AGE_S = 0.3
"""Attempts younger than this have nothing to show yet."""
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
    """Make new lines of running attempts durable; return how many. One statement, and none where there are none."""
    found = list(_new_rows(contexts))
    if found:
        _write([row for _, _, row in found])
        for _, transcript, row in found:
            transcript.kept += row["w_lines"]
        lines_written.send(None, contexts=list({context.action.pk: context for context, _, _ in found}.values()))
    return sum(row["w_lines"] for _, _, row in found)


def _new_rows(contexts: Iterable[ActionContext]) -> Iterator[tuple[ActionContext, AttemptLog, dict[str, Any]]]:
    """What there is to write, as much as one statement should carry."""
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
    """The transcripts that are still being written; the others are forgotten."""
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
    """Insert what our lease still holds. Lines that cannot be stored are given up: their receipt has them again."""
    table, source = LogLine._meta.db_table, _POSTGRES if connection.vendor == "postgresql" else _SQLITE
    statement = f"""
        INSERT INTO {table} (action_id, step, attempt, is_undo, first, lines, text, at)
        SELECT a.id, v.w_step, v.w_attempt, v.w_is_undo, v.w_first, v.w_lines, v.w_text, {_NOW[connection.vendor]}
        FROM {source} JOIN actions_action a ON a.id = v.w_id WHERE a.lease_id = v.w_lease
        ON CONFLICT DO NOTHING"""
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, [json.dumps(rows, default=str)])
    except (DataError, IntegrityError) as error:
        log.warning("live_lines_lost", lines=sum(r["w_lines"] for r in rows), error=str(error))


K = JournalEntry.Kind


ENDS = (K.RECEIPT, K.FAILURE, K.SKIP)


UNDO_ENDS = (K.UNDO_RECEIPT, K.UNDO_FAILURE)


def has_ended() -> Q:
    """True of a live row whose attempt has its end in the journal."""
    same = JournalEntry.objects.filter(action=OuterRef("action"), step=OuterRef("step"), attempt=OuterRef("attempt"))
    forth, back = same.filter(kind__in=ENDS), same.filter(kind__in=UNDO_ENDS)
    return Q(Exists(forth), is_undo=False) | Q(Exists(back), is_undo=True)


def lines_of_earlier_workers(action_ids: Iterable[UUID]) -> dict[UUID, dict[AttemptKey, list[str]]]:
    """What was written so far of attempts of these actions, by action and attempt. One query."""
    found: dict[UUID, dict[AttemptKey, list[str]]] = {}
    for row in LogLine.objects.filter(action__in=list(action_ids)).order_by("first"):
        lines = found.setdefault(row.action_id, {}).setdefault((row.step, row.attempt, row.is_undo), [])
        if row.first == len(lines):  # never with a gap: readers have counted from the first line
            lines.extend(split_lines(row.text))
    return found


def delete_ended() -> int:
    """Delete live rows of attempts that have ended; return how many. One statement."""
    return LogLine.objects.filter(has_ended()).delete()[0]


def split_lines(text: str) -> list[str]:
    return text.split("\n") if text else []
