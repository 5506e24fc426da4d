"""Make text safe to store and show: mask probable secrets with keyed fingerprints, make hostile characters visible."""

import hmac
import math
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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


# What a secret looks like: token formats by their own signs, and names whose values are secret.


# Formats that announce themselves. The group named "value", else the whole match, is the secret.
FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("AWS access key", r"(?<![A-Za-z0-9/+])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9/+])"),
        ("GitHub token", r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})"),
        ("GitLab token", r"(?<!\w)gl(?:pat|ptt|rt|dt|cbt|soat|ft|imt|agent)-[\w-]{20,255}"),
        ("Slack token", r"(?<!\w)xox[abeoprs]-[A-Za-z0-9-]{10,255}"),
        ("Slack webhook", r"https://hooks\.slack\.com/(?:services|workflows)/(?P<value>T\w{5,20}/\w{5,20}/\w{16,64})"),
        ("Stripe key", r"(?<!\w)(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,255}"),
        ("Google API key", r"(?<![\w-])AIza[\w-]{35}(?![\w-])"),
        ("npm token", r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)"),
        ("PyPI token", r"(?<!\w)pypi-AgE[\w-]{50,500}"),
        ("SendGrid key", r"(?<!\w)SG\.[\w-]{22}\.[\w-]{43}(?!\w)"),
        ("Vault token", r"(?<!\w)hv[bs]\.[\w-]{24,300}"),
        ("DigitalOcean token", r"(?<!\w)do[opr]_v1_[a-f0-9]{64}(?!\w)"),
        ("AI service key", r"(?<![\w-])sk-(?:ant-|proj-|svcacct-)?(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{32,255}"),
        ("age key", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
        ("Interlock token", r"(?<!\w)ilk_[A-Za-z0-9]{8}_[\w-]{16,128}"),
        ("JSON Web Token", r"(?<![\w.-])eyJ[\w-]{8,2000}\.eyJ[\w-]{8,8000}\.[\w-]{16,2000}"),
        (
            "password in a URL",
            r"(?i)(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{1,30}://[^\s/:@\"'<>`]{0,128}:(?P<value>[^\s/@\"'<>`]{1,256})@",
        ),
        (
            "authorization header",
            r"(?i)\bauthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:bearer|basic|token)\s{1,4}(?P<value>[\w.~+/=-]{16,4096})",
        ),
    )
)
PRIVATE_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
PRIVATE_KEY_END = re.compile(r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")

# name = value, name: value, "name": "value", <name>value</name>; the name must end in the telling word.
WORD = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|credentials?|"
    r"(?:api|secret|access|private|auth|signing|encryption|master|account|license|shared|client)[_-]?key"
)
ASSIGNMENT = re.compile(
    rf"(?i)(?P<word>{WORD})(?:[_-]?(?:\d{{1,3}}|prod|production|dev|staging|test|old|new|base64|b64))?"
    r"[\"']?[\])]?[ \t]{0,8}(?:=>|:=|\?=|=(?!=)|:(?![:/]))[ \t]{0,8}"
    r"|<(?=[\w.-]{0,64}(?:password|secret|token|api[_-]?key)>)"
)
QUOTED = re.compile(r"(?:[bru]{1,2})?(?P<quote>[\"'])(?P<value>(?:\\.|(?!(?P=quote))[^\\\n]){0,512})(?P=quote)")
BARE = re.compile(r"[^\s\"'`,;<]{1,512}")
PASSWORDS = ("pass", "pwd")

MASK = re.compile("⟦secret:[0-9a-f]{8}⟧")
# ${VAR}, $(cmd), {{name}}, %(name)s anywhere; $VAR, %VAR%, <name>, !tag, &anchor, *alias and store: as a whole.
REFERENCE = re.compile(
    r"(?i)\$[{(]|\{\{|%[({]|#\{|⟦secret:"
    r"|\A\$[a-z_]\w*(?:\Z|[/:.])|\A(?:%\w+%|\[.*\]|\{[\w.]*\}|<[^>]*>|![\w!]+|[&*][A-Za-z_][\w-]*)\s*\Z"
    r"|\AENC\[|\A(?:ref\+\w+|vault|env|file|secret|arn|op|azurekeyvault|gcp)[:/]"
)
EXPRESSION = re.compile(
    r"[A-Za-z_][\w.]*[(\[]|[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+[)\]},]*$|(?:await|new|lambda)$|[(\[{|>&*!@-]"
)
TYPE = re.compile(
    r"(?i)(?:optional|list|dict|str|string|bytes|int|integer|number|bool|boolean|object|any|none|null|nil|undefined|"
    r"true|false|yes|no|on|off)\b[\w.|\[\] ?]*$"
)
PLACEHOLDER = re.compile(
    r"(?i)(?:change[_-]?(?:me|it|this)|replace[_-]?(?:me|this|with)|insert|enter|your|my|some|the|example|sample|dummy|fake|"
    r"placeholder|redacted|masked|hidden|removed|secret|password|passwd|passphrase|token|todo|tbd|fixme|unset|none|empty|"
    r"required|optional|default|unknown|invalid|missing|forgot|test(?:ing)?$|foo|bar|baz|x{3,}|\*{3,}|\.{3,}|-{3,}|_{3,}|•{3,}|0+$|1234)"
    r"|.*(?:example|placeholder|changeme|redacted|_here$|-here$|goes[_-]here)"
)
PATH = re.compile(r"(?:~|\.{0,2})/[\w./-]+$|[A-Za-z]:\\|[\w-]+\.(?:pem|key|crt|json|ya?ml|txt|env|py|js|ts|go)$")
NAME = re.compile(r"_*[A-Za-z]+(?:[-_.:]+[A-Za-z]+|[-_.:]v?\d{1,4})*_*$")


def is_placeholder(value: str) -> bool:
    """Whether a value stands for a secret that is kept elsewhere, or for none."""
    return len(value) < 4 or bool(REFERENCE.search(value) or PLACEHOLDER.match(value)) or len(set(value)) < 3


def is_secret_value(name: str, value: str, is_quoted: bool) -> bool:
    """Whether the value of something called `name` (a telling word) is probably a secret itself."""
    value = value.strip()
    if is_placeholder(value) or TYPE.match(value) or PATH.match(value):
        return False
    if not is_quoted and EXPRESSION.match(value):
        return False
    is_password = name.lower().startswith(PASSWORDS)
    if " " in value:
        return is_password and name.lower().startswith("passphrase")
    if is_password:
        return len(value) >= 6 and (is_quoted or not NAME.fullmatch(value) or _is_mixed(value))
    return len(value) >= 8 and not NAME.fullmatch(value) and _entropy(value) >= 2.75


def _is_mixed(value: str) -> bool:
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value)


def _entropy(value: str) -> float:
    """Bits per character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


# Control, bidirectional and invisible characters, which a terminal or a browser would act on.
# C0 without tab and newline, DEL, C1, soft hyphen, marks that reorder or hide text, tags.
HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


def code_point(character: str) -> str:
    """`U+202E`, the way the standard writes it."""
    return f"U+{ord(character):04X}"


def name_of(character: str) -> str:
    """A name for people: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    return f"{code_point(character)} {unicodedata.name(character, 'control character')}"


def symbol(character: str) -> str:
    """One visible sign (␛) where there is one, else the code point."""
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    return "␡" if number == 0x7F else code_point(character)


def visible(text: str) -> str:
    """Plain text in which every hostile character is replaced by a sign of it."""
    return HOSTILE.sub(lambda match: symbol(match[0]), text)
