"""
A run's log, read in order from wherever the reader is: from the step journal, and of running attempts what they have
written so far. Bounded: a part is as much as one answer should hold.

An attempt that has ended is read from the line that ended it, where the reader's cursor says how much of it was read
while it ran. So nothing is missing and nothing comes twice, whatever of it was live.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Length

from actions.lifecycle.journal import AttemptKey
from actions.models import Action, JournalEntry, LogLine
from actions.run.step_log import UNDO_ENDS, K, has_ended, split_lines

LIVE = "live"
BEGINS = (K.INTENT, K.UNDO_INTENT)
UNDOES = (K.UNDO_INTENT, *UNDO_ENDS)
MAX_LINES_OF_LEDGER = 400
MAX_CHARACTERS = 512 * 1024
"""Of log in one part, but for the last attempt in it, which is whole."""
MAX_ROWS = 20
MAX_OPEN = 16
"""Attempts that a cursor remembers; more than run at once."""
CURSOR = re.compile(r"(\d{1,18})(?:\.(\d{1,18})((?:~[0-9a-f]{12}\.\d{1,5}){0,16}))?\Z")


@dataclass(frozen=True)
class Cursor:
    """How far somebody has read: the last line of the journal, the last live row, and lines read of open attempts."""

    line: int = 0
    said: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """From its text; what is none is the beginning."""
        found = CURSOR.match(text)
        if not found:
            return cls()
        parts = [part.split(".") for part in (found[3] or "").split("~")[1:]]
        return cls(int(found[1]), int(found[2] or 0), {name: int(count) for name, count in parts})

    def __str__(self) -> str:
        parts = "".join(f"~{name}.{count}" for name, count in list(self.seen.items())[-MAX_OPEN:])
        return f"{self.line}.{self.said}{parts}" if self.said else str(self.line)


@dataclass(frozen=True)
class LogEntry:
    """A line of the journal with what was not read yet of its log; or, of kind `live`, more of a running attempt."""

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
    """Whether more is there already."""


def read_part(
    action: Action, cursor: Cursor, *, step: str = "", most: int = MAX_LINES_OF_LEDGER, only_logs: bool = False
) -> LogPart:
    """What comes after a cursor: at most so many lines of the journal, with `only_logs` of those that have a log.

    Three queries at most, and one of them only where something was logged.
    """
    asked = action.journal_entries.filter(pk__gt=cursor.line, **({"step": step} if step else {}))
    lines, more = _lines(asked.exclude(log="") if only_logs else asked, most)
    seen, entries = dict(cursor.seen), []
    for line in lines:
        key = _key((line.step, line.attempt, line.kind in UNDOES))
        read = 0 if line.kind in BEGINS else seen.pop(key, 0)
        log = split_lines(line.log)[read:]
        entries.append(LogEntry(line.kind, line.step, line.attempt, line.at, log, line.facts))
    last, said = (lines[-1].pk if lines else cursor.line), cursor.said
    if not more:
        rows = list(_running(action, step).filter(pk__gt=said).order_by("pk")[: MAX_ROWS + 1])
        more = len(rows) > MAX_ROWS
        for row in rows[:MAX_ROWS]:
            said, key = row.pk, _key((row.step, row.attempt, row.is_undo))
            log = split_lines(row.text)[max(0, seen.get(key, 0) - row.first) :]
            seen[key] = max(seen.get(key, 0), row.first + row.lines)
            if log:
                entries.append(LogEntry(LIVE, row.step, row.attempt, row.at, log))
    return LogPart(entries, Cursor(last, said, seen), more)


def _lines(asked: QuerySet[JournalEntry], most: int) -> tuple[list[JournalEntry], bool]:
    """The first of these lines, as many as their logs together allow, and whether there are more."""
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
    """Live rows of attempts that have not ended."""
    rows = action.log_lines.exclude(has_ended())
    return rows.filter(step=step) if step else rows


def _key(attempt: AttemptKey) -> str:
    step, number, is_undo = attempt
    return sha256(f"{step}\0{number}\0{is_undo:d}".encode()).hexdigest()[:12]
