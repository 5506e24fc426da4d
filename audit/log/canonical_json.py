"""Canonical JSON (RFC 8785): the bytes that are hashed, stored, and hashed again by whoever verifies."""

import hashlib
import json
from typing import Any

import rfc8785

CanonicalizationError = rfc8785.CanonicalizationError
MAX_INTEGER = 2**53 - 1
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Any) -> bytes:
    """Encode strings, bools, None, integers within ±(2⁵³−1), floats, lists, tuples and dicts with string keys.

    The standard encoder gives the same bytes at a fifth of the cost, but only without floats and with keys whose code
    point order is their UTF-16 order; everything else takes the slow road. Raises CanonicalizationError (a ValueError)
    for what RFC 8785 cannot say: larger integers, NaN, lone surrogates, other types, endless nesting.
    """
    try:
        return _encode(value).encode() if is_plain(value) else rfc8785.dumps(value)
    except UnicodeEncodeError as error:
        raise CanonicalizationError("a string holds a lone surrogate and has no UTF-8 form") from error
    except RecursionError as error:
        raise CanonicalizationError("the value is nested too deeply") from error


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def is_plain(value: Any) -> bool:
    """Whether a value holds nothing but what the standard encoder writes as RFC 8785 does; no floats, above all."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii() or (type(item) is not str and not is_plain(item)):
                return False
        return True
    if kind is list or kind is tuple:
        return all(map(is_plain, value))
    if kind is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return kind is str or kind is bool or value is None
