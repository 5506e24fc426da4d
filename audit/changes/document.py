"""The change document: before and after of everything an action touches, and which lines differ."""

import difflib
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from audit.changes.masking import visible

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
            changed = [op for op in compare_lines(*self.lines()) if op[0] != "equal"]
            self.dels = sum(i2 - i1 for _, i1, i2, _, _ in changed)
            self.adds = sum(j2 - j1 for _, _, _, j1, j2 in changed)

    def lines(self) -> tuple[list[str], list[str]]:
        """Old and new lines, with their newlines."""
        return split_lines(self.before or ""), split_lines(self.after or "")


def serialize_changes(changes: list[Change]) -> dict[str, Any]:
    """A value for `canonical()`: strings, integers and None only."""
    return {"format": FORMAT, "changes": [dict(vars(change)) for change in changes]}


def parse_changes(data: bytes) -> list[Change]:
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
    out = list(_diff_header(change))
    for hunk in group_hunks(compare_lines(old, new), context):
        i1, i2, j1, j2 = hunk[0][1], hunk[-1][2], hunk[0][3], hunk[-1][4]
        out.append(f"@@ -{_hunk_range(i1, i2)} +{_hunk_range(j1, j2)} @@")
        for tag, a1, a2, b1, b2 in hunk:
            if tag == "equal":
                out += [line for text in old[a1:a2] for line in _diff_line(" ", text)]
            else:
                out += [line for text in old[a1:a2] for line in _diff_line("-", text)]
                out += [line for text in new[b1:b2] for line in _diff_line("+", text)]
    return "\n".join(out) + "\n" if out else ""


def _diff_header(change: Change) -> Iterator[str]:
    name = visible(change.target).replace("\n", "␊")
    if change.before_mode and change.after_mode and change.before_mode != change.after_mode:
        yield f"old mode {change.before_mode}"
        yield f"new mode {change.after_mode}"
    if change.before != change.after:
        yield "--- /dev/null" if change.before is None else f"--- a/{name}"
        yield "+++ /dev/null" if change.after is None else f"+++ b/{name}"


def _hunk_range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + 1 if length else start},{length}" if length != 1 else f"{start + 1}"


def _diff_line(sign: str, text: str) -> Iterator[str]:
    yield sign + visible(text.removesuffix("\n"))
    if not text.endswith("\n"):
        yield "\\ No newline at end of file"


# Which lines changed. Exact on ordinary texts, and bounded on hostile ones: difflib alone is quadratic and worse.


BUDGET = 2_000_000  # inner steps of difflib for one comparison, about 0.3 s
Opcode = tuple[str, int, int, int, int]  # as difflib: tag, from and to in the old lines, from and to in the new lines


def split_lines(text: str) -> list[str]:
    """Lines with their newline; only "\\n" ends a line, so that numbers agree with every editor."""
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def compare_lines(old: Sequence[str], new: Sequence[str]) -> list[Opcode]:
    """The opcodes that turn `old` into `new`, with tags equal, replace, delete and insert.

    Lines that occur once on both sides anchor the comparison (patience diff); difflib fills the gaps while a budget of
    steps lasts, then a coarse match does. So 5,000 lines take milliseconds, whatever they hold.
    """
    pairs = _Matcher(old, new).pairs()
    return list(_opcodes(pairs, len(old), len(new)))


def group_hunks(opcodes: Sequence[Opcode], context: int) -> Iterator[list[Opcode]]:
    """Group the opcodes around changes, with up to `context` equal lines on either side; nothing for equal texts."""
    group: list[Opcode] = []
    for n, (tag, i1, i2, j1, j2) in enumerate(opcodes):
        if tag != "equal":
            group.append((tag, i1, i2, j1, j2))
            continue
        is_last = n == len(opcodes) - 1
        if group and (is_last or i2 - i1 > 2 * context):
            stop = min(context, i2 - i1)
            yield [*group, (tag, i1, i1 + stop, j1, j1 + stop)]
            group = []
        if not is_last:
            skip = max(0, i2 - i1 - context) if not group else 0
            group.append((tag, i1 + skip, i2, j1 + skip, j2))
    if any(opcode[0] != "equal" for opcode in group):
        yield group


class _Matcher:
    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        self.old, self.new, self.left = old, new, BUDGET

    def pairs(self) -> list[tuple[int, int]]:
        """Matching line numbers (old, new), both increasing."""
        found: list[tuple[int, int]] = []
        todo = [(0, len(self.old), 0, len(self.new))]
        while todo:
            i1, i2, j1, j2 = todo.pop()
            while i1 < i2 and j1 < j2 and self.old[i1] == self.new[j1]:
                found.append((i1, j1))
                i1, j1 = i1 + 1, j1 + 1
            while i1 < i2 and j1 < j2 and self.old[i2 - 1] == self.new[j2 - 1]:
                i2, j2 = i2 - 1, j2 - 1
                found.append((i2, j2))
            if i1 == i2 or j1 == j2:
                continue
            anchors = self._unique(self.old[i1:i2], self.new[j1:j2])
            if not anchors:
                found.extend((i1 + i, j1 + j) for i, j in self._fill(self.old[i1:i2], self.new[j1:j2]))
                continue
            for i, j in anchors:
                found.append((i1 + i, j1 + j))
            edges = [(-1, -1), *anchors, (i2 - i1, j2 - j1)]
            for (i, j), (k, m) in zip(edges, edges[1:], strict=False):
                todo.append((i1 + i + 1, i1 + k, j1 + j + 1, j1 + m))
        return sorted(found)

    def _unique(self, old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
        """Lines that occur exactly once on both sides and are in order."""
        self.left -= len(old) + len(new)
        if self.left < 0:
            return []
        in_old, in_new = Counter(old), Counter(new)
        at = {line: j for j, line in enumerate(new) if in_new[line] == 1 == in_old[line]}
        return _longest_run([(i, at[line]) for i, line in enumerate(old) if line in at])

    def _fill(self, old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int]]:
        counts = Counter(new)
        matches = sum(counts[line] for line in old)
        cost = (matches + len(old)) * min(len(old), len(new), matches)
        if cost > self.left:
            yield from _by_occurrence(old, new)
            return
        self.left -= cost
        for i, j, size in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
            for k in range(size):
                yield i + k, j + k


def _by_occurrence(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Match the first occurrence of a line with the first, the second with the second: coarse, and n log n."""
    numbered = [list(zip(side, _occurrences(side), strict=True)) for side in (old, new)]
    at = {line: j for j, line in enumerate(numbered[1])}
    return _longest_run([(i, at[line]) for i, line in enumerate(numbered[0]) if line in at])


def _occurrences(lines: Sequence[str]) -> Iterator[int]:
    seen: Counter[str] = Counter()
    for line in lines:
        yield seen[line]
        seen[line] += 1


def _longest_run(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence whose second numbers increase too (patience sorting)."""
    tails: list[int] = []  # smallest end of an increasing run of each length
    where: list[int] = []
    back = [-1] * len(pairs)
    for n, (_, j) in enumerate(pairs):
        length = bisect_left(tails, j)
        back[n] = where[length - 1] if length else -1
        tails[length : length + 1] = [j]
        where[length : length + 1] = [n]
    run: list[tuple[int, int]] = []
    n = where[-1] if where else -1
    while n >= 0:
        run.append(pairs[n])
        n = back[n]
    return run[::-1]


def _opcodes(pairs: list[tuple[int, int]], old_length: int, new_length: int) -> Iterator[Opcode]:
    i = j = n = 0
    while n <= len(pairs):
        next_i, next_j = pairs[n] if n < len(pairs) else (old_length, new_length)
        if i < next_i or j < next_j:
            tag = "replace" if i < next_i and j < next_j else "delete" if i < next_i else "insert"
            yield tag, i, next_i, j, next_j
        start = n
        while n < len(pairs) and pairs[n] == (next_i + n - start, next_j + n - start):
            n += 1
        if n > start:
            yield "equal", next_i, next_i + n - start, next_j, next_j + n - start
        i, j = next_i + n - start, next_j + n - start
        n = max(n, start + 1) if start == len(pairs) else n
