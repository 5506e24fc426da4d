"""Make what an executor or a target said fit to be stored: both databases, JSON and the log must be able to hold it."""

import math
from typing import Any

from audit.log.canonical_json import MAX_INTEGER

MAX_DEPTH = 30
MAX_CHARACTERS = 20_000


def sanitize(value: Any, depth: int = 0) -> Any:
    """
    The same value with what cannot be stored made visible: NUL (PostgreSQL has no text with it), lone surrogates (no
    UTF-8 form), numbers that JSON readers cannot hold, other types and endless nesting as text; texts cut at 20,000
    characters. A single such value would otherwise fail the transaction that carries many actions.
    """
    kind = type(value)
    if value is None or kind is bool or (kind is int and abs(value) <= MAX_INTEGER):
        return value
    if kind is float and math.isfinite(value):
        return value
    if isinstance(value, dict | list | tuple) and depth < MAX_DEPTH:
        if isinstance(value, dict):
            return {sanitize_text(key): sanitize(inner, depth + 1) for key, inner in value.items()}
        return [sanitize(inner, depth + 1) for inner in value]
    return sanitize_text(value)


def sanitize_text(value: Any) -> str:
    text = str(value)
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS] + "…"
    return text.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()
