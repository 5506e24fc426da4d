"""What is broken, and how the verifier reads JSON: strictly, so that what it accepts has one spelling."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

HEX64 = re.compile(r"[0-9a-f]{64}")


class Broken(Exception):
    """What is broken (`item`), how (`kind`), and why we say so (`detail`)."""

    def __init__(self, kind: str, item: str, detail: str = "") -> None:
        self.kind, self.item, self.detail = kind, item, detail
        super().__init__(f"{kind}: {item}" + (f": {detail}" if detail else ""))


def parse(data: bytes, item: str) -> Any:
    """JSON without duplicate keys and without what JSON cannot say. Raises Broken("edited")."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("duplicate key")
        return dict(pairs)

    def never(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise Broken("edited", item, "it is not readable JSON") from error


def parse_as(data: bytes, shape: Mapping[str, type], item: str, what: str) -> dict[str, Any]:
    """An object of exactly these fields, in its one encoding."""
    found = parse(data, item)
    if not has_shape(found, shape) or plain(found) != data:
        raise Broken("edited", item, f"it is not {what}")
    return found


def has_shape(value: Any, shape: Mapping[str, type]) -> bool:
    return type(value) is dict and {name: type(item) for name, item in value.items()} == shape


def plain(value: Any) -> bytes:
    """Canonical JSON of strings, integers, lists and maps with ASCII keys (where it equals RFC 8785)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8", "replace")


def unbase64(text: Any, item: str) -> bytes:
    """Strictly: what decodes has one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise Broken("edited", item, "it holds what is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Broken("edited", item, "it holds base64 that is not written the one way")
    return data


def word(text: str) -> str:
    """Text that neither Markdown nor a terminal would act on."""
    return re.sub(r"[^A-Za-z0-9 .:/@+_-]", "?", text)
