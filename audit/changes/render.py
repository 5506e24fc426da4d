"""Draw a change as a diff, on the server: highlighted, escaped, folded; in a page or as one file of its own."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Literal

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Token, _TokenType
from pygments.util import ClassNotFound

from audit.changes.document import Change, Opcode, compare_lines
from audit.changes.masking import HOSTILE, name_of, symbol

Runs = list[tuple[str, str]]  # (token class or "", text) of one line
Marks = Sequence[tuple[int, int]]  # changed character ranges of one line

MAX_LEXED_CHARS = 200_000  # about half a second of Pygments
MAX_LEXED_LINE = 2_000
MAX_WORDS = 300  # of one line; longer lines get no word marks
SIMILAR = 0.45  # below this, marks would cover nearly the whole line
SECRET = re.compile("⟦secret:([0-9a-f]+)⟧")
WORD = re.compile(r"⟦secret:[0-9a-f]+⟧|\w+|\s+|[^\w\s]")
CLASSES = (
    (Token.Comment, "com"),
    (Token.Keyword, "kw"),
    (Token.Name.Tag, "key"),
    (Token.Name.Attribute, "key"),
    (Token.Literal.String, "str"),
    (Token.Literal.Number, "num"),
    (Token.Literal.Scalar, "str"),
)


def highlight(text: str, name: str, language: str = "") -> list[Runs]:
    """Runs for each line, lexed as a whole so that state carries over; plain when no lexer fits or it would be slow."""
    plain = text.split("\n")
    lexer = _lexer(name, language)
    if lexer is None or len(text) > MAX_LEXED_CHARS or max(map(len, plain)) > MAX_LEXED_LINE:
        return [[("", line)] for line in plain]
    lines: list[Runs] = [[]]
    for _, token, value in lexer.get_tokens_unprocessed(text):
        for n, part in enumerate(value.split("\n")):
            if n:
                lines.append([])
            if part:
                lines[-1].append((_class_of(token), part))
    if ["".join(part for _, part in runs) for runs in lines] != plain:
        return [[("", line)] for line in plain]  # a lexer that loses text must not decide what a person approves
    return [_isolate_masks(runs, line) if "⟦" in line else runs for runs, line in zip(lines, plain, strict=True)]


def _isolate_masks(runs: Runs, line: str) -> Runs:
    """Give every mask a run of its own: a lexer may have cut it up."""
    out: Runs = []
    masks = [match.span() for match in SECRET.finditer(line)]
    position = 0
    for css_class, text in runs:
        for start, stop, is_mask in _cut(position, position + len(text), masks):
            if not is_mask:
                out.append((css_class, line[start:stop]))
            elif any(start == mask[0] for mask in masks):
                out.append(("", next(line[left:right] for left, right in masks if left == start)))
        position += len(text)
    return out


def mark_changed_words(old: str, new: str) -> tuple[Marks, Marks]:
    """Changed character ranges of two similar lines, by word; none when they differ too much or are very long."""
    a, b = WORD.findall(old[: MAX_WORDS * 20]), WORD.findall(new[: MAX_WORDS * 20])
    if max(len(a), len(b)) > MAX_WORDS or len(old) + len(new) > MAX_WORDS * 40:
        return (), ()
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if matcher.quick_ratio() < SIMILAR or matcher.ratio() < SIMILAR:
        return (), ()
    at_old, at_new = _offsets(a), _offsets(b)
    changed = [opcode for opcode in matcher.get_opcodes() if opcode[0] != "equal"]
    return (
        [(at_old[i1], at_old[i2]) for _, i1, i2, _, _ in changed if i2 > i1],
        [(at_new[j1], at_new[j2]) for _, _, _, j1, j2 in changed if j2 > j1],
    )


def line_html(runs: Runs, marks: Marks = ()) -> str:
    """One line as HTML. A zero-width space keeps an empty line's height."""
    out: list[str] = []
    position = 0
    for css_class, text in runs:
        for start, stop, is_marked in _cut(position, position + len(text), marks):
            piece = text_html(text[start - position : stop - position])
            if css_class:
                piece = f'<span class="c-{css_class}">{piece}</span>'
            out.append(f"<mark>{piece}</mark>" if is_marked else piece)
        position += len(text)
    return "".join(out) or "&#8203;"


def text_html(text: str) -> str:
    """Escaped text; masked secrets as masks, hostile characters as signs that name themselves."""
    out: list[str] = []
    end = 0
    for match in SECRET.finditer(text):
        out += [_plain_html(text[end : match.start()]), _mask_html(match[1])]
        end = match.end()
    return "".join([*out, _plain_html(text[end:])])


def _plain_html(text: str) -> str:
    if not HOSTILE.search(text):
        return escape(text)
    parts: list[str] = []
    end = 0
    for match in HOSTILE.finditer(text):
        parts += [escape(text[end : match.start()]), _sign_html(match[0])]
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def _sign_html(character: str) -> str:
    return f'<span class="d-ctl" title="{escape(name_of(character))}">{symbol(character)}</span>'


def _mask_html(fingerprint: str) -> str:
    return (
        f'<span class="mask" title="Secret value, masked. Keyed fingerprint {fingerprint}">'
        f'<span class="mask__dots">••••••••</span><span class="mask__fp">{fingerprint}</span></span>'
    )


def _cut(start: int, stop: int, marks: Marks) -> list[tuple[int, int, bool]]:
    """Cut [start, stop) at the edges of marks."""
    pieces: list[tuple[int, int, bool]] = []
    at = start
    for left, right in marks:
        if right <= at or left >= stop:
            continue
        if left > at:
            pieces.append((at, left, False))
        pieces.append((max(at, left), min(right, stop), True))
        at = min(right, stop)
    return [*pieces, (at, stop, False)] if at < stop else pieces


def _offsets(tokens: Sequence[str]) -> list[int]:
    return [0, *accumulate(map(len, tokens))]


def _class_of(token: _TokenType) -> str:
    return next((name for parent, name in CLASSES if token[: len(parent)] == parent), "")


def _lexer(name: str, language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language) if language else get_lexer_for_filename(name)
    except ClassNotFound:
        return None


# Draw a change as a diff, on the server: a table of classes only, for one view, with unchanged lines folded.


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


def render_change(change: Change, view: View, context: int = 3) -> SafeString:
    """The table of one view ("unified" or "split"). Texts come masked, and leave escaped, with nothing invisible."""
    old, new = change.lines()
    sheet = _Sheet(old, new, _runs(change.before, change), _runs(change.after, change), view)
    opcodes = compare_lines(old, new)
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
                both.append(f"<tr>{_render_cell(i, 'del', before)}{_render_cell(j, 'add', after)}</tr>")
            else:
                left += [] if i is None else [_render_line(i, "del", "−", before)]
                right += [] if j is None else [_render_line(j, "add", "+", after)]
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
                yield f"<tr>{_render_cell(i, 'ctx', code)}{_render_cell(j, 'ctx', code)}</tr>"
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
        return mark_changed_words(self.old[i].rstrip("\n"), self.new[j].rstrip("\n"))

    @staticmethod
    def _code(lines: Sequence[str], runs: list[Runs], n: int, marks: Marks) -> str:
        return line_html(runs[n], marks) + ("" if lines[n].endswith("\n") else NO_NEWLINE)


def _render_line(n: int, kind: str, sign: str, code: str | None) -> str:
    number, blank = f'<td class="d-num d-{kind}" data-n="{n + 1}"></td>', f'<td class="d-num d-{kind}"></td>'
    numbers = number + blank if kind == "del" else blank + number
    return (
        f'<tr class="is-{kind}">{numbers}<td class="d-sign d-{kind}" data-s="{sign}"></td>'
        f'<td class="d-code d-{kind}"><code>{code}</code></td></tr>'
    )


def _render_cell(n: int | None, kind: str, code: str | None) -> str:
    if n is None:
        return VOID
    return f'<td class="d-num d-{kind}" data-n="{n + 1}"></td><td class="d-code d-{kind}"><code>{code}</code></td>'


# A change document as one HTML file that needs nothing else: our renderer, our colours, no script, no link.


STANDALONE_CSS = Path(__file__).parent / "standalone.css"
MAX_CHANGES = 2_000
FOLD = re.compile(r'<tbody class="d-fold"><tr><td colspan="4"><button.*?</button></td></tr></tbody>', re.DOTALL)
STANDALONE_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
{css}</style></head><body>
<h1>{title}</h1>
<p class="facts">Before and after, as reviewed; secrets are masked. SHA-256 of the change document:
<code>{digest}</code></p>
{body}</body></html>
"""


def standalone_page(changes: list[Change], digest: str) -> bytes:
    """The page of a change document. Everything is unfolded, but for long unchanged runs, which only say how long."""
    shown = changes[:MAX_CHANGES]
    body = "".join(map(_section, shown))
    if len(changes) > len(shown):
        body += f"<p>{len(changes) - len(shown)} more changes are in the change document only.</p>"
    title = f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
    return STANDALONE_PAGE.format(title=title, css=_read_css(), digest=digest, body=body).encode()


def _section(change: Change) -> str:
    modes = f" · mode {escape(change.before_mode)} → {escape(change.after_mode)}" if _has_new_mode(change) else ""
    note = f" · {text_html(change.note)}" if change.note else ""
    table = FOLD.sub("", render_change(change, "unified")).replace('<tbody class="d-folded" hidden>', "<tbody>")
    counts = f"{escape(change.operation)} · +{change.adds} −{change.dels}"
    head = f'<h2>{text_html(change.target)}</h2><p class="facts">{counts}{modes}{note}</p>'
    return f"<section>{head}{table}</section>\n"


def _has_new_mode(change: Change) -> bool:
    return bool(change.before_mode and change.after_mode and change.before_mode != change.after_mode)


@cache
def _read_css() -> str:
    return STANDALONE_CSS.read_text("utf-8")
