"""Change documents as lines for paper: numbered, marked, cut to the width of the page."""

from collections.abc import Iterator
from typing import Any

from audit.changes.document import Change
from audit.changes.lines import compare, hunks
from audit.evidence.collect import Collected
from audit.evidence.typesetting import Code, printable

COLUMNS = 88
MAX_LINES = 3_000  # of one report; about 40 pages
MAX_CUTS = 40  # pieces of one very long line
Line = list[Any]  # old number or "", new number or "", sign, text


def paper_changes(found: Collected) -> list[dict[str, Any]]:
    """Each change document, with the plans that name it and their approvals, as far as there is room."""
    left, out = MAX_LINES, []
    for digest, changes in found.changes.items():
        plans = [row for row in found.story.plans if digest in row["artifacts"]]
        files = []
        for change in changes:
            lines, rest = _lines(change, left)
            left -= len(lines)
            files.append({**_about(change), "lines": lines, "left_out": rest})
            if left <= 0:
                break
        out.append({
            "digest": digest, "plans": [_plan(row, found) for row in plans], "files": files,
            "more": len(changes) - len(files), "count": len(changes),
            "adds": sum(c.adds for c in changes), "dels": sum(c.dels for c in changes),
        })  # fmt: skip
    return out


def _plan(row: dict[str, Any], found: Collected) -> dict[str, Any]:
    digest = str(row["facts"].get("digest", ""))
    by = [d for d in found.story.decisions if d["facts"].get("digest") == digest and d["outcome"] == "ok"]
    names = [
        found.people.get(d["actor"], f"…{d['actor'][-8:]}")
        for d in by
        if d["verb"] in ("approval.granted", "approval.accepted")
    ]
    return {
        "seq": row["seq"],
        "version": str(row["facts"].get("version", "")),
        "digest": digest[:16],
        "by": sorted(set(names)),
    }


def _about(change: Change) -> dict[str, Any]:
    modes = change.before_mode != change.after_mode and change.before_mode and change.after_mode
    return {
        "target": change.target, "operation": change.operation, "adds": change.adds, "dels": change.dels,
        "note": change.note, "mode": f"{change.before_mode} → {change.after_mode}" if modes else "",
    }  # fmt: skip


def _lines(change: Change, most: int) -> tuple[list[Line], int]:
    """At most about `most` lines of the unified diff, and how many changed lines are left out."""
    old, new = change.lines()
    out: list[Line] = []
    shown = 0
    for line in _unified(old, new):
        if len(out) >= most:
            break
        shown += line[2] in "+-" and line[2] != ""
        out.extend(_cut(line))
    return out, max(0, change.adds + change.dels - shown)


def _unified(old: list[str], new: list[str]) -> Iterator[Line]:
    for n, hunk in enumerate(hunks(compare(old, new), 3)):
        if n or hunk[0][1]:
            yield ["", "", "@", f"line {hunk[0][3] + 1}"]
        for tag, i1, i2, j1, j2 in hunk:
            if tag == "equal":
                yield from ([i1 + k + 1, j1 + k + 1, "", new[j1 + k]] for k in range(i2 - i1))
            else:
                yield from ([i + 1, "", "-", old[i]] for i in range(i1, i2))
                yield from (["", j + 1, "+", new[j]] for j in range(j1, j2))


def _cut(line: Line) -> Iterator[Line]:
    """One line as rows of the page's width; what follows the first is marked as belonging to it."""
    before, after, sign, text = line
    whole = printable(text.removesuffix("\n"), words=False)
    if sign in ("+", "-") and not text.endswith("\n"):
        whole += " ‹no newline at the end›"
    pieces = [whole[n : n + COLUMNS] for n in range(0, len(whole), COLUMNS)] or [""]
    yield [before, after, sign, Code(pieces[0])]
    for piece in pieces[1:MAX_CUTS]:
        yield ["", "↳" if sign != "-" else "", sign, Code(piece)]
    if len(pieces) > MAX_CUTS:
        yield ["", "", sign, f"‹{(len(pieces) - MAX_CUTS) * COLUMNS} more characters of this line›"]
