"""The change document: before → after of everything an action touches, masked before it is stored."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from audit.changes.lines import compare, hunks, split_lines
from audit.changes.visible import visible

FORMAT = "interlock.changes/1"
OPERATIONS = ("create", "modify", "delete", "replace")


class NotAChangeDocument(ValueError):
    """These bytes are not a change document that this version reads."""


@dataclass
class Change:
    """One target's change. Texts are whole and masked; digests are of the real bytes; None means not there.

    `adds` and `dels` count changed lines and are worked out when left negative.
    """

    key: str
    target: str
    kind: str
    operation: str
    before: str | None = None
    after: str | None = None
    before_digest: str | None = None
    after_digest: str | None = None
    before_mode: str | None = None
    after_mode: str | None = None
    language: str = ""
    note: str = ""
    adds: int = -1
    dels: int = -1

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"operation is one of {', '.join(OPERATIONS)}, not {self.operation!r}")
        if self.adds < 0 or self.dels < 0:
            changed = [op for op in compare(*self.lines()) if op[0] != "equal"]
            self.dels = sum(i2 - i1 for _, i1, i2, _, _ in changed)
            self.adds = sum(j2 - j1 for _, _, _, j1, j2 in changed)

    def lines(self) -> tuple[list[str], list[str]]:
        """Old and new lines, with their newlines."""
        return split_lines(self.before or ""), split_lines(self.after or "")


def document(changes: list[Change]) -> dict[str, Any]:
    """A value for `canonical()`: strings, integers and None only."""
    return {"format": FORMAT, "changes": [dict(vars(change)) for change in changes]}


def load(data: bytes) -> list[Change]:
    """Read a stored document. Raises NotAChangeDocument."""
    try:
        value = json.loads(data)
        if value["format"] != FORMAT:
            raise NotAChangeDocument(f"expected {FORMAT}, found {value['format']!r}")
        known = {field.name for field in fields(Change)}
        return [Change(**{name: item for name, item in change.items() if name in known}) for change in value["changes"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotAChangeDocument(f"not a change document: {error}") from error


def text_diff(change: Change, context: int = 3) -> str:
    """A unified diff for reports: plain text, hostile characters made visible, "" when no line changed."""
    old, new = change.lines()
    out = list(_header(change))
    for hunk in hunks(compare(old, new), context):
        i1, i2, j1, j2 = hunk[0][1], hunk[-1][2], hunk[0][3], hunk[-1][4]
        out.append(f"@@ -{_range(i1, i2)} +{_range(j1, j2)} @@")
        for tag, a1, a2, b1, b2 in hunk:
            if tag == "equal":
                out += [line for text in old[a1:a2] for line in _line(" ", text)]
            else:
                out += [line for text in old[a1:a2] for line in _line("-", text)]
                out += [line for text in new[b1:b2] for line in _line("+", text)]
    return "\n".join(out) + "\n" if out else ""


def _header(change: Change) -> Iterator[str]:
    name = visible(change.target).replace("\n", "␊")
    if change.before_mode and change.after_mode and change.before_mode != change.after_mode:
        yield f"old mode {change.before_mode}"
        yield f"new mode {change.after_mode}"
    if change.before != change.after:
        yield "--- /dev/null" if change.before is None else f"--- a/{name}"
        yield "+++ /dev/null" if change.after is None else f"+++ b/{name}"


def _range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + 1 if length else start},{length}" if length != 1 else f"{start + 1}"


def _line(sign: str, text: str) -> Iterator[str]:
    yield sign + visible(text.removesuffix("\n"))
    if not text.endswith("\n"):
        yield "\\ No newline at end of file"
