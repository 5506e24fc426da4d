"""A run's log in ranges, running steps included: a page asks only for what came after the last line that it has."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actions.models import Action, Checkpoint
from actions.transcripts import LIVE, Cursor, Entry, part_of
from audit.changes.visible import visible

K = Checkpoint.Kind
MOST_UNASKED = 10_000
"""Lines that a page fetches by itself; beyond that somebody has to ask for each range."""
BEGAN = {K.INTENT: "began", K.UNDO_INTENT: "began to undo"}
ENDED = {
    K.RECEIPT: ("o", "done"),
    K.UNDO_RECEIPT: ("o", "undone"),
    K.FAILURE: ("e", "failed"),
    K.UNDO_FAILURE: ("e", "undo failed"),
    K.SKIP: ("w", "left out"),
}
WARNINGS = ("warning", "retry", "—")


@dataclass(frozen=True)
class Line:
    """One line: its number, when, which step, and how it reads (t title, i info, o good, w warning, e error)."""

    n: int
    at: datetime
    step: str
    look: str
    text: str


@dataclass(frozen=True)
class Range:
    lines: list[Line]
    after: str
    """The cursor that this range ends with: what to ask after."""
    n: int
    more: bool

    @property
    def is_long(self) -> bool:
        """Whether the page should wait for somebody to want more of it."""
        return self.more and self.n >= MOST_UNASKED


def range_of(action: Action, after: str = "", n: int = 0) -> Range:
    """Lines after a cursor, numbered on from `n`. Three queries at most."""
    part = part_of(action, Cursor.read(after))
    lines: list[Line] = []
    for entry in part.entries:
        lines += [
            Line(n + len(lines) + k, entry.at, entry.step, look, text) for k, (look, text) in enumerate(_said(entry), 1)
        ]
    return Range(lines, str(part.cursor), n + len(lines), part.more)


def _said(entry: Entry) -> list[tuple[str, str]]:
    if entry.kind in BEGAN:
        return [_begun(entry)]
    said = [("w" if text.lower().startswith(WARNINGS) else "i", text) for text in entry.log]
    if entry.kind == LIVE:
        return said
    look, word = ENDED.get(K(entry.kind), ("t", entry.kind.replace("_", " ")))
    facts: dict[str, Any] = entry.facts
    message, code = facts.get("message", ""), facts.get("code", "")
    if look == "e":
        return [*said, ("e", f"{word}: {message or code or 'no reason given'}")]
    if facts.get("settled_by"):
        return [*said, ("w", f"{word}, on a person's word")]
    if facts.get("simulated"):
        return [*said, ("o", "simulated")]
    return [*said, (look, f"{word}: {message}" if message and look == "w" else word)]


def _begun(entry: Entry) -> tuple[str, str]:
    again = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
    waits = entry.facts.get("retry_at")
    if isinstance(waits, str):
        return "w", f"waits to be tried again until {datetime.fromisoformat(waits):%H:%M:%S}{again}"
    return "t", BEGAN[K(entry.kind)] + again


def as_text(action: Action) -> str:
    """The whole log as plain text, for a download."""
    out, after, n = [], "", 0
    while True:
        part = range_of(action, after, n)
        out += [f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ} {visible(line.step)} {visible(line.text)}\n" for line in part.lines]
        if not part.more:
            return "".join(out)
        after, n = part.after, part.n
