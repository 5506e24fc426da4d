"""A change document as one HTML file that needs nothing else: our renderer, our colours, no script, no link."""

import re
from functools import cache
from pathlib import Path

from django.utils.html import escape

from audit.changes.document import Change
from audit.changes.highlight import text_html
from audit.changes.render import render

CSS = Path(__file__).parent / "standalone.css"
MAX_CHANGES = 2_000
FOLD = re.compile(r'<tbody class="d-fold"><tr><td colspan="4"><button.*?</button></td></tr></tbody>', re.DOTALL)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
{css}</style></head><body>
<h1>{title}</h1>
<p class="facts">Before and after, as reviewed; secrets are masked. SHA-256 of the change document:
<code>{digest}</code></p>
{body}</body></html>
"""


def page_of(changes: list[Change], digest: str) -> bytes:
    """The page of a change document. Everything is unfolded, but for long unchanged runs, which only say how long."""
    shown = changes[:MAX_CHANGES]
    body = "".join(map(_section, shown))
    if len(changes) > len(shown):
        body += f"<p>{len(changes) - len(shown)} more changes are in the change document only.</p>"
    title = f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
    return PAGE.format(title=title, css=_css(), digest=digest, body=body).encode()


def _section(change: Change) -> str:
    modes = f" · mode {escape(change.before_mode)} → {escape(change.after_mode)}" if _changes_mode(change) else ""
    note = f" · {text_html(change.note)}" if change.note else ""
    table = FOLD.sub("", render(change, "unified")).replace('<tbody class="d-folded" hidden>', "<tbody>")
    counts = f"{escape(change.operation)} · +{change.adds} −{change.dels}"
    head = f'<h2>{text_html(change.target)}</h2><p class="facts">{counts}{modes}{note}</p>'
    return f"<section>{head}{table}</section>\n"


def _changes_mode(change: Change) -> bool:
    return bool(change.before_mode and change.after_mode and change.before_mode != change.after_mode)


@cache
def _css() -> str:
    return CSS.read_text("utf-8")
