"""Reading requests: ids, filters and JSON bodies; and an action as a response."""

import json
import math
from typing import Any, NoReturn
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from ninja.parser import Parser

from actions.models import Action
from actions.queries.action_detail import serialize_action
from audit.errors import Invalid, NotFound, Problem, TooLarge
from audit.log.canonical_json import MAX_INTEGER
from tenants.access import access_of


def parse_id(text: str) -> UUID:
    """An action's id from an address. What cannot be one leads nowhere, like one that is unknown: NotFound."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None


def refuse_unknown_filters(request: HttpRequest, known: Any) -> None:
    """Raise Invalid for query parameters that a schema does not have: a filter with a typo must not mean "all"."""
    names = {field.alias or name for name, field in known.model_fields.items()}
    unknown = sorted(set(request.GET) - names)
    if unknown:
        message = "There is no such filter."
        raise Invalid(issues=[{"severity": "error", "message": message, "field": name[:100]} for name in unknown])


# JSON bodies: refuse what cannot be stored or hashed.


MAX_DEPTH = 40
MAX_KEYS = 20_000
"""The largest submission has 500 changes of ten fields."""


class MalformedJson(Problem):
    """The body is not valid JSON."""

    status, code = 400, "malformed"


class StrictParser(Parser):
    """JSON in UTF-8, each key once, without NaN, infinities, integers beyond ±(2⁵³−1), lone surrogates, NUL, more than
    `MAX_KEYS` keys, or endless nesting.

    Bytes are decoded first, and strictly: `json.loads` would take UTF-16 and raw surrogates. A key that stands twice
    has two meanings, and which one counts depends on the reader.
    """

    def parse_body(self, request: HttpRequest) -> Any:
        """The body's value. Raises TooLarge, Malformed, Invalid."""
        try:
            body = request.body
        except RequestDataTooBig:
            raise TooLarge from None
        try:
            value = json.loads(
                body.decode(),
                object_pairs_hook=_Keys(),
                parse_constant=_no_constant,
                parse_int=_integer,
                parse_float=_finite,
            )
        except UnicodeDecodeError as error:
            raise MalformedJson(f"The body is not UTF-8 at byte {error.start}.") from None
        except RecursionError:
            raise MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
        except ValueError as error:
            raise MalformedJson(f"The body is not valid JSON: {error}") from None
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
            _check_depth(value)
        if b"\\u" in body:
            _check_texts(value)
        return value


class _Keys:
    """Builds the objects of one body; counts its keys, and refuses one that stands twice in an object."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.count += len(pairs)
        if self.count > MAX_KEYS:
            raise ValueError(f"a body may have {MAX_KEYS:,} keys")
        built = dict(pairs)
        if len(built) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
        return built


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise ValueError("an integer is beyond ±(2^53-1), which not every JSON reader can hold; send it as a string")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [found for found in level if isinstance(found, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.")
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]


def _check_texts(value: Any) -> None:
    """What an escape can smuggle in: a lone surrogate has no UTF-8 form, and PostgreSQL cannot store NUL."""
    waiting = [("", value)]
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, dict):
            for key, inner in found.items():
                _check_text(key, path)
                waiting.append((f"{path}.{key}" if path else key, inner))
        elif isinstance(found, list):
            waiting.extend((f"{path}.{n}", inner) for n, inner in enumerate(found))
        elif isinstance(found, str):
            _check_text(found, path)


def _check_text(text: str, path: str) -> None:
    if "\x00" in text:
        raise Invalid(issues=[{"severity": "error", "message": "NUL characters are not accepted.", "field": path}])
    try:
        text.encode()
    except UnicodeEncodeError:
        words = "A lone surrogate is not a character."
        field = path.encode(errors="replace").decode()
        raise Invalid(issues=[{"severity": "error", "message": words, "field": field}]) from None


def action_response(request: HttpRequest, action: Action) -> dict[str, Any]:
    """An action as the one who asks may see it now; `?vocabulary=seed` as everywhere."""
    return serialize_action(access_of(request), action, request.GET.get("vocabulary", ""))
