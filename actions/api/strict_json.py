"""Read a body as JSON, and refuse at the door what no later part could store or hash."""

import json
import math
from typing import Any, NoReturn

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from ninja.parser import Parser

from audit.errors import Invalid, Problem, TooLarge
from audit.log.canonical_json import MAX_INTEGER

MOST_DEPTH = 40


class Malformed(Problem):
    """The body is not valid JSON."""

    status, code = 400, "malformed"


class StrictParser(Parser):
    """JSON in UTF-8 without NaN, infinities, integers beyond ±(2⁵³−1), lone surrogates, NUL, or endless nesting."""

    def parse_body(self, request: HttpRequest) -> Any:
        """The body's value. Raises TooLarge, Malformed, Invalid."""
        try:
            body = request.body
        except RequestDataTooBig:
            raise TooLarge from None
        try:
            value = json.loads(body, parse_constant=_no_constant, parse_int=_integer, parse_float=_finite)
        except RecursionError:
            raise Malformed(f"The body is nested deeper than {MOST_DEPTH} levels.") from None
        except ValueError as error:
            raise Malformed(f"The body is not valid JSON: {error}") from None
        if body.count(b"[") + body.count(b"{") > MOST_DEPTH:
            _check_depth(value)
        if b"\\u" in body:
            _check_texts(value)
        return value


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
        if depth > MOST_DEPTH:
            raise Malformed(f"The body is nested deeper than {MOST_DEPTH} levels.")
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
