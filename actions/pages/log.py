"""A run's log, read from the step ledger, in ranges: a page asks only for what came after the last line that it has."""

from dataclasses import dataclass
from datetime import datetime

from actions.models import Action, Checkpoint
from audit.changes.visible import visible

K = Checkpoint.Kind
PAGE = 400
"""Ledger lines in one answer; each carries one attempt's log."""
BEGAN = {K.INTENT: "began", K.UNDO_INTENT: "began to undo"}
ENDED = {
    K.RECEIPT: ("o", "done"),
    K.UNDO_RECEIPT: ("o", "undone"),
    K.FAILURE: ("e", "failed"),
    K.UNDO_FAILURE: ("e", "undo failed"),
}


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
    after: int
    """The ledger line that this range ends with: what to ask after."""
    n: int
    more: bool


def range_of(action: Action, after: int = 0, n: int = 0) -> Range:
    """Lines after a ledger line, numbered on from `n`. One query."""
    found = list(action.checkpoints.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
    lines: list[Line] = []
    for checkpoint in found[:PAGE]:
        lines += [
            Line(n + len(lines) + k, checkpoint.at, checkpoint.step, look, text)
            for k, (look, text) in enumerate(_said(checkpoint), 1)
        ]
    last = found[:PAGE][-1].pk if found else after
    return Range(lines, last, n + len(lines), len(found) > PAGE)


def _said(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    kind = K(checkpoint.kind)
    if kind in BEGAN:
        again = f", attempt {checkpoint.attempt}" if checkpoint.attempt > 1 else ""
        return [("t", BEGAN[kind] + again)]
    look, word = ENDED[kind]
    said = [
        ("w" if text.lower().startswith(("warning", "retry")) else "i", text) for text in checkpoint.log.splitlines()
    ]
    message, code = checkpoint.facts.get("message", ""), checkpoint.facts.get("code", "")
    if look == "e":
        return [*said, ("e", f"{word}: {message or code or 'no reason given'}")]
    if checkpoint.facts.get("settled_by"):
        return [*said, ("w", f"{word}, on a person's word")]
    return [*said, ("o", word)]


def as_text(action: Action) -> str:
    """The whole log as plain text, for a download."""
    out, after, n = [], 0, 0
    while True:
        part = range_of(action, after, n)
        out += [f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ} {visible(line.step)} {visible(line.text)}\n" for line in part.lines]
        if not part.more:
            return "".join(out)
        after, n = part.after, part.n
