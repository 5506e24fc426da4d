"""Source text to HTML: token classes, word marks, masks, and nothing that a browser would act on."""

import difflib
import re
from collections.abc import Sequence
from itertools import accumulate

from django.utils.html import escape
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Token, _TokenType
from pygments.util import ClassNotFound

from audit.changes.visible import HOSTILE, name_of, symbol

Runs = list[tuple[str, str]]  # (token class or "", text) of one line
Marks = Sequence[tuple[int, int]]  # changed character ranges of one line

MAX_LEXED_CHARS = 200_000  # about half a second of Pygments
MAX_LEXED_LINE = 2_000
MAX_WORDS = 300  # of one line; longer lines get no word marks
SIMILAR = 0.45  # below this, marks would cover nearly the whole line
SECRET = re.compile("⟦secret:([0-9a-f]+)⟧")
WORD = re.compile(r"⟦secret:[0-9a-f]+⟧|\w+|\s+|[^\w\s]")
CLASSES = (
    (Token.Comment, "com"), (Token.Keyword, "kw"), (Token.Name.Tag, "key"), (Token.Name.Attribute, "key"),
    (Token.Literal.String, "str"), (Token.Literal.Number, "num"), (Token.Literal.Scalar, "str"),
)  # fmt: skip


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
    return [_whole_masks(runs, line) if "⟦" in line else runs for runs, line in zip(lines, plain, strict=True)]


def _whole_masks(runs: Runs, line: str) -> Runs:
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


def words(old: str, new: str) -> tuple[Marks, Marks]:
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
