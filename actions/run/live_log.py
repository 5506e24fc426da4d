"""
What running steps write, shown while they run: new lines become rows about once a second, in one statement.

Only lines of attempts that have lasted a moment are written, so that quick steps cost nothing; their receipt has them.
The rows are fenced by the lease, like every write of a worker, and bounded like the logs that they are part of.
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import structlog
from django.db import DataError, IntegrityError, connection
from django.dispatch import Signal

from actions.case import Case
from actions.models import Said
from actions.run.transcript import Transcript

log = structlog.get_logger(__name__)
said = Signal()
"""Sent after lines were written: `cases` is a list of those that they belong to."""
YOUNG_S = 0.3
"""Attempts younger than this have nothing to show yet."""
MOST_LINES = 200
"""In one row."""
MOST_BYTES = 1024 * 1024
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


def speak(cases: Iterable[Case]) -> int:
    """Make new lines of running attempts durable; return how many. One statement, and none where there are none."""
    found = list(_new_rows(cases))
    if found:
        _write([row for _, _, row in found])
        for _, transcript, row in found:
            transcript.kept += row["w_lines"]
        said.send(None, cases=list({case.action.pk: case for case, _, _ in found}.values()))
    return sum(row["w_lines"] for _, _, row in found)


def _new_rows(cases: Iterable[Case]) -> Iterator[tuple[Case, Transcript, dict[str, Any]]]:
    """What there is to write, as much as one statement should carry."""
    now, room = time.monotonic(), MOST_BYTES
    for case, transcript in _under_way(cases):
        transcript.meter.look()
        if now - transcript.began < YOUNG_S:
            continue
        for row in _rows(case, transcript):
            if room <= 0:
                return
            room -= len(row["w_text"])
            yield case, transcript, row


def _under_way(cases: Iterable[Case]) -> Iterator[tuple[Case, Transcript]]:
    """The transcripts that are still being written; the others are forgotten."""
    for case in cases:
        for key, transcript in list(case.transcripts.items()):
            assert isinstance(transcript, Transcript)
            if transcript.is_over:
                case.transcripts.pop(key, None)
            else:
                yield case, transcript


def _rows(case: Case, transcript: Transcript) -> Iterator[dict[str, Any]]:
    step, attempt, is_undo = transcript.attempt
    fresh, first = transcript[transcript.kept :], transcript.kept
    for n in range(0, len(fresh), MOST_LINES):
        part = fresh[n : n + MOST_LINES]
        yield {
            "w_id": case.action.pk if connection.vendor == "postgresql" else case.action.pk.hex,
            "w_lease": case.lease,
            "w_step": step,
            "w_attempt": attempt,
            "w_is_undo": is_undo,
            "w_first": first + n,
            "w_lines": len(part),
            "w_text": "\n".join(part),
        }


def _write(rows: list[dict[str, Any]]) -> None:
    """Insert what our lease still holds. Lines that cannot be stored are given up: their receipt has them again."""
    table, source = Said._meta.db_table, _POSTGRES if connection.vendor == "postgresql" else _SQLITE
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
