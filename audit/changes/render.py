"""Draw a change as a diff, on the server: a table of classes only, for one view, with unchanged lines folded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from django.utils.safestring import SafeString, mark_safe

from audit.changes.document import Change
from audit.changes.highlight import Marks, Runs, highlight, line_html, words
from audit.changes.lines import Opcode, compare

View = Literal["unified", "split"]
MAX_WORD_PAIRS = 1_000  # lines that get word marks; the rest is marked by the line
MAX_FOLDED = 400  # unchanged lines in one fold that the reader can open; larger folds only say how many
MAX_ROWS = 12_000  # of one table; a browser crawls beyond, and the text of the change stays whole elsewhere
COLUMNS = {
    "unified": '<col class="w-num"><col class="w-num"><col class="w-sign"><col>',
    "split": '<col class="w-num"><col class="w-half"><col class="w-num"><col class="w-half">',
}
NO_NEWLINE = '<span class="d-ctl" title="No newline at end of file">∅</span>'
VOID = '<td class="d-num d-void"></td><td class="d-code d-void"></td>'
ICON = (
    '<svg class="i" viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">'
    '<path class="g-l" d="m4.5 6 3.5-3.5L11.5 6M4.5 10 8 13.5 11.5 10"/></svg>'
)


def render(change: Change, view: View, context: int = 3) -> SafeString:
    """The table of one view ("unified" or "split"). Texts come masked, and leave escaped, with nothing invisible."""
    old, new = change.lines()
    sheet = _Sheet(old, new, _runs(change.before, change), _runs(change.after, change), view)
    opcodes = compare(old, new)
    for n, opcode in enumerate(opcodes):
        if sheet.rows > MAX_ROWS:
            sheet.stop(opcodes[n:])
            break
        if opcode[0] == "equal":
            sheet.unchanged(opcode, head=context if n else 0, tail=context if n < len(opcodes) - 1 else 0)
        else:
            sheet.changed(opcode)
    return mark_safe(  # every piece was escaped by line_html
        f'<table class="diff diff--{view}"><colgroup>{COLUMNS[view]}</colgroup>{"".join(sheet.parts)}</table>'
    )


def _runs(text: str | None, change: Change) -> list[Runs]:
    return highlight(text, change.target, change.language) if text else []


@dataclass
class _Sheet:
    old: Sequence[str]
    new: Sequence[str]
    old_runs: list[Runs]
    new_runs: list[Runs]
    view: View
    parts: list[str] = field(default_factory=list)
    rows: int = 0
    word_pairs: int = 0

    def unchanged(self, opcode: Opcode, head: int, tail: int) -> None:
        """Equal lines: `head` and `tail` rows of context, the rest folded if that saves anything."""
        _, i1, i2, j1, _ = opcode
        rows = [(i1 + k, j1 + k) for k in range(i2 - i1)]
        if len(rows) <= head + tail + 1:
            self._body(self._context(rows))
            return
        self._body(self._context(rows[:head]))
        self._fold(rows[head : len(rows) - tail])
        self._body(self._context(rows[len(rows) - tail :]))

    def changed(self, opcode: Opcode) -> None:
        """Deleted and added lines, the n-th beside the n-th."""
        _, i1, i2, j1, j2 = opcode
        height = min(max(i2 - i1, j2 - j1), MAX_ROWS)
        left: list[str] = []
        right: list[str] = []
        both: list[str] = []
        for k in range(height):
            i = i1 + k if i1 + k < i2 else None
            j = j1 + k if j1 + k < j2 else None
            marks = self._marks(i, j)
            before = None if i is None else self._code(self.old, self.old_runs, i, marks[0])
            after = None if j is None else self._code(self.new, self.new_runs, j, marks[1])
            if self.view == "split":
                both.append(f"<tr>{_cell(i, 'del', before)}{_cell(j, 'add', after)}</tr>")
            else:
                left += [] if i is None else [_line(i, "del", "−", before)]
                right += [] if j is None else [_line(j, "add", "+", after)]
        self._body([*left, *right, *both])
        if height < max(i2 - i1, j2 - j1):
            self.stop([("replace", min(i1 + height, i2), i2, min(j1 + height, j2), j2)])

    def stop(self, rest: Sequence[Opcode]) -> None:
        """Say plainly what is not shown."""
        dels = sum(o[2] - o[1] for o in rest if o[0] != "equal")
        adds = sum(o[4] - o[3] for o in rest if o[0] != "equal")
        if adds or dels:
            self._notice(f"This diff is too long for a page: {adds} added and {dels} deleted lines are not shown here")

    def _context(self, rows: Sequence[tuple[int, int]]) -> Iterator[str]:
        for i, j in rows:
            code = self._code(self.new, self.new_runs, j, ())
            if self.view == "split":
                yield f"<tr>{_cell(i, 'ctx', code)}{_cell(j, 'ctx', code)}</tr>"
            else:
                yield (
                    f'<tr><td class="d-num" data-n="{i + 1}"></td><td class="d-num" data-n="{j + 1}"></td>'
                    f'<td class="d-sign"></td><td class="d-code"><code>{code}</code></td></tr>'
                )

    def _fold(self, rows: Sequence[tuple[int, int]]) -> None:
        words_ = f"{len(rows)} unchanged line{'' if len(rows) == 1 else 's'}"
        if len(rows) > MAX_FOLDED:
            self._notice(words_)
            return
        self.parts.append(
            f'<tbody class="d-fold"><tr><td colspan="4"><button type="button" class="d-fold__btn" data-unfold '
            f'aria-expanded="false">{ICON}{words_}</button></td></tr></tbody>'
            f'<tbody class="d-folded" hidden>{"".join(self._context(rows))}</tbody>'
        )
        self.rows += len(rows)

    def _notice(self, text: str) -> None:
        self.parts.append(
            f'<tbody class="d-fold"><tr><td colspan="4"><span class="d-fold__btn">{text}</span></td></tr></tbody>'
        )

    def _body(self, rows: Sequence[str] | Iterator[str]) -> None:
        found = list(rows)
        if found:
            self.parts.append(f"<tbody>{''.join(found)}</tbody>")
            self.rows += len(found)

    def _marks(self, i: int | None, j: int | None) -> tuple[Marks, Marks]:
        if i is None or j is None or self.word_pairs >= MAX_WORD_PAIRS:
            return (), ()
        self.word_pairs += 1
        return words(self.old[i].rstrip("\n"), self.new[j].rstrip("\n"))

    @staticmethod
    def _code(lines: Sequence[str], runs: list[Runs], n: int, marks: Marks) -> str:
        return line_html(runs[n], marks) + ("" if lines[n].endswith("\n") else NO_NEWLINE)


def _line(n: int, kind: str, sign: str, code: str | None) -> str:
    number, blank = f'<td class="d-num d-{kind}" data-n="{n + 1}"></td>', f'<td class="d-num d-{kind}"></td>'
    numbers = number + blank if kind == "del" else blank + number
    return (
        f'<tr class="is-{kind}">{numbers}<td class="d-sign d-{kind}" data-s="{sign}"></td>'
        f'<td class="d-code d-{kind}"><code>{code}</code></td></tr>'
    )


def _cell(n: int | None, kind: str, code: str | None) -> str:
    if n is None:
        return VOID
    return f'<td class="d-num d-{kind}" data-n="{n + 1}"></td><td class="d-code d-{kind}"><code>{code}</code></td>'
