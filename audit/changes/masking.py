"""Find probable secrets in text, and put keyed fingerprints in their place before anything is stored."""

import hmac
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from audit.changes.secret_kinds import (
    ASSIGNMENT,
    BARE,
    FORMATS,
    MASK,
    PRIVATE_KEY_BEGIN,
    PRIVATE_KEY_END,
    QUOTED,
    is_placeholder,
    is_secret_value,
)

EXCERPT_CHARS = 80
DOTS = "••••••••"
OPENERS = {")": "(", "]": "[", "}": "{"}
LINE = re.compile(r"[^\s].*[^\s]|[^\s]")
Span = tuple[int, int, str]  # start, stop, kind


@dataclass(frozen=True)
class Finding:
    """One probable secret: what it looks like and where (line and column from 1); the excerpt has it covered."""

    kind: str
    line: int
    column: int
    excerpt_masked: str


def find_secrets(text: str) -> list[Finding]:
    """Every probable secret, in order. Precise rather than complete: a reference or placeholder is not a secret."""
    starts = [0, *(n + 1 for n, character in enumerate(text) if character == "\n")] if text else [0]
    spans = _spans(text)
    covered = _replace(text, spans, lambda _: DOTS) if spans else text
    lines = covered.split("\n") if spans else []
    findings = []
    for start, _, kind in spans:
        line = bisect_right(starts, start)
        excerpt = lines[line - 1].strip()
        findings.append(Finding(kind, line, start - starts[line - 1] + 1, _shorten(excerpt)))
    return findings


def mask(text: str, key: bytes) -> str:
    """Replace every probable secret by ⟦secret:FP⟧; FP is 8 hex of HMAC-SHA256(key, value).

    Equal secrets have equal fingerprints, so "changed" and "unchanged" stay visible. Line numbers stay: a private key
    is masked line by line.
    """
    return _replace(text, _spans(text), lambda value: f"⟦secret:{fingerprint(value, key)}⟧")


def fingerprint(value: str, key: bytes) -> str:
    """8 hex digits that tell equal values from different ones, to whoever has no key to try values with."""
    return hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256").hex()[:8]


def _replace(text: str, spans: list[Span], by: Callable[[str], str]) -> str:
    out: list[str] = []
    end = 0
    for start, stop, _ in spans:
        out += [text[end:start], by(text[start:stop])]
        end = stop
    return "".join([*out, text[end:]])


def _spans(text: str) -> list[Span]:
    """Sorted and disjoint; of two that overlap the longer stays."""
    found = sorted([*_private_keys(text), *_formats(text), *_assignments(text)], key=lambda s: (s[0] - s[1], s[0]))
    kept: list[Span] = []
    taken = bytearray(len(text))
    for start, stop, kind in found:
        if taken.find(1, start, stop) < 0:
            taken[start:stop] = b"\1" * (stop - start)
            kept.append((start, stop, kind))
    return sorted(kept)


def _private_keys(text: str) -> Iterator[Span]:
    position = 0
    while begin := PRIVATE_KEY_BEGIN.search(text, position):
        end = PRIVATE_KEY_END.search(text, begin.end())
        stop = end.start() if end else len(text)
        for line in LINE.finditer(text, begin.end(), stop):
            yield line.start(), line.end(), "private key"
        position = end.end() if end else len(text)


def _formats(text: str) -> Iterator[Span]:
    for kind, pattern in FORMATS:
        group = "value" if "value" in pattern.groupindex else 0
        for match in pattern.finditer(text):
            if not is_placeholder(match[group]):
                yield *match.span(group), kind


def _assignments(text: str) -> Iterator[Span]:
    for match in ASSIGNMENT.finditer(text):
        name = match["word"]
        if MASK.match(text, max(0, match.start() - 1)):
            continue
        if name is None:
            yield from _element(text, match.end())
            continue
        quoted = QUOTED.match(text, match.end())
        value = quoted or BARE.match(text, match.end())
        if value is None:
            continue
        start, stop = value.span("value" if quoted else 0)
        if not quoted:
            stop = _end_of_bare(text, start, stop, match.start())
        if is_secret_value(name, text[start:stop], quoted is not None):
            yield start, stop, f"value of a {_kind(name)}"


def _element(text: str, start: int) -> Iterator[Span]:
    """<password>value</password>"""
    left = text.find(">", start) + 1
    right = text.find("</", left, left + 512)
    if left and right > left and is_secret_value("password", text[left:right], True):
        yield left, right, "value of a password"


def _end_of_bare(text: str, start: int, stop: int, name_start: int) -> int:
    """Without the brackets that close something opened before, and without the rest of a query string."""
    value = text[start:stop]
    before = text[max(0, name_start - 64) : name_start]
    if "&" in value and ("?" in before or "&" in before):
        value = value.partition("&")[0]
    while value and (value[-1] == ":" or value.count(value[-1]) > value.count(OPENERS.get(value[-1], value[-1]))):
        value = value[:-1]
    return start + len(value)


def _kind(name: str) -> str:
    lower = name.lower()
    if lower.startswith("pass") or lower == "pwd":
        return "password"
    return "key" if lower.endswith("key") else lower.rstrip("s")


def _shorten(excerpt: str) -> str:
    """Around the first covered value."""
    at = max(0, excerpt.find(DOTS) - EXCERPT_CHARS // 2)
    return ("…" if at else "") + excerpt[at : at + EXCERPT_CHARS]
