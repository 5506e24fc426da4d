"""Forms from a JSON Schema: fields from schema and value, and the value back from a posted form.

Names are dotted paths (`parameters.changes.0.path`), the same that issues carry, so that every issue finds its field.
It knows objects, lists of objects or of plain values, texts, numbers, choices, and `oneOf` told apart by a constant;
anything else is a box of JSON. What does not parse is kept as typed, for the schema to refuse and the person to see.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from audit.log.canonical_json import MAX_INTEGER

Schema = dict[str, Any]
MAX_ROWS = 500
MISSING = re.compile(r'"(\w+)" is a required property')
OMIT = object()
"""Nothing was given: the property is left out, rather than empty."""
SHORT_CHOICE = 4


@dataclass
class Field:
    """One control. `kind` names its template branch; `rows` are the items of a list, each a list of fields."""

    name: str
    label: str
    kind: str
    value: str = ""
    help: str = ""
    required: bool = False
    options: list[tuple[str, str]] = field(default_factory=list)
    rows: list[list["Field"]] = field(default_factory=list)
    item: str = ""
    default: str = ""
    limits: dict[str, Any] = field(default_factory=dict)
    redraws: bool = False
    """Whether what else can be chosen depends on it."""
    issues: list[dict[str, str]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return "f-" + self.name.replace(".", "-")

    @property
    def is_bad(self) -> bool:
        return any(issue["severity"] == "error" for issue in self.issues)


def draw_fields(schema: Schema, value: Any, name: str, issues: Iterable[Mapping[str, str]] = ()) -> list[Field]:
    """The controls of a schema with their values and issues. `name` is "" or a dotted prefix."""
    found: dict[str, list[dict[str, str]]] = {}
    for issue in issues:
        found.setdefault(field_of_issue(issue), []).append(dict(issue))
    return _controls(schema, value, name, found)


def add_choices(fields: list[Field], choices: Mapping[str, list[tuple[str, str]]], prefix: str) -> None:
    """
    Let texts be chosen from what is there, in place; what was typed and is not there stays as it is.

    What the others can be may depend on the first: the form is drawn again when that one changes.
    """
    for one in fields:
        options = choices.get(one.name.removeprefix(f"{prefix}."), [])[:MAX_ROWS]
        if one.kind == "text" and options:
            known = {value for value, _ in options}
            typed = [(one.value, one.value)] if one.value and one.value not in known else []
            one.kind, one.options = "select", [*typed, *options]
            one.redraws = not any(other.redraws for other in fields)


def field_of_issue(issue: Mapping[str, str]) -> str:
    """The field that an issue is about: a property that is missing is named in the message, not in the path."""
    missing = MISSING.match(issue["message"])
    return _join_name(issue["field"], missing[1]) if missing else issue["field"]


def _controls(schema: Schema, value: Any, name: str, issues: dict[str, list[dict[str, str]]]) -> list[Field]:
    value = value if isinstance(value, dict) else {}
    variant, told_by = variant_of(schema, value)
    out = []
    if told_by:
        options = [(v["properties"][told_by]["const"], v.get("title", "")) for v in schema["oneOf"]]
        chosen = str(value.get(told_by, options[0][0]))
        at = _join_name(name, told_by)
        out.append(
            Field(
                at, told_by.capitalize(), "variant", chosen, options=options, required=True, issues=issues.get(at, [])
            )
        )
    required = variant.get("required", [])
    for key, sub in variant.get("properties", {}).items():
        if key != told_by:
            out.append(
                _control(
                    sub,
                    value.get(key, sub.get("default") if key in required else None),
                    _join_name(name, key),
                    key in required,
                    issues,
                )
            )
    return out


def _control(schema: Schema, value: Any, name: str, required: bool, issues: dict[str, list[dict[str, str]]]) -> Field:
    label = schema.get("title") or name.rpartition(".")[2].replace("_", " ").capitalize()
    made = Field(
        name, label, kind_of(schema), help=schema.get("description", ""), required=required, issues=issues.get(name, [])
    )
    made.limits = {k: schema[k] for k in ("minimum", "maximum", "maxLength") if k in schema}
    made.default = _text(schema.get("default"), made.kind)
    if made.kind == "rows":
        items = value if isinstance(value, list) else [{}] * schema.get("minItems", 0)
        made.item = schema["items"].get("title", "entry")
        made.rows = [_controls(schema["items"], it, f"{name}.{n}", issues) for n, it in enumerate(items)]
    elif made.kind == "group":
        made.rows = [_controls(schema, value, name, issues)]
    else:
        made.value = _text(value, made.kind)
        made.options = [(str(v), str(v).replace("_", " ")) for v in schema.get("enum", [])]
    return made


def kind_of(schema: Schema) -> str:
    """Which control a schema gets."""
    kind, widget = schema.get("type"), schema.get("x-widget", "")
    if "enum" in schema:
        return "choice" if len(schema["enum"]) <= SHORT_CHOICE else "select"
    if kind == "array":
        items = schema.get("items", {})
        if items.get("type") == "object" or "oneOf" in items:
            return "rows"
        return "list" if items.get("type") in ("string", "integer", "number") else "json"
    plain = {
        "integer": "number",
        "number": "number",
        "boolean": "yesno",
        "object": "group" if "properties" in schema else "json",
    }
    if kind == "string":
        return widget if widget in ("code", "textarea", "path", "url", "datetime") else "text"
    return plain.get(str(kind), "json")


def variant_of(schema: Schema, value: Mapping[str, Any]) -> tuple[Schema, str]:
    """The schema that a value is to fit: itself, or the branch of `oneOf` that a constant picks, and that property."""
    branches = [b for b in schema.get("oneOf", []) if any("const" in p for p in b.get("properties", {}).values())]
    if not branches or len(branches) != len(schema["oneOf"]):
        return schema, ""
    told_by = next(k for k, p in branches[0]["properties"].items() if "const" in p)
    fits = (b for b in branches if b["properties"].get(told_by, {}).get("const") == value.get(told_by))
    return next(fits, branches[0]), told_by


def parse_fields(schema: Schema, posted: Mapping[str, str], name: str) -> dict[str, Any]:
    """The value that was posted under a name: only what the schema knows, what is empty left out."""
    told = {
        "kind": "",
        **{k: posted.get(_join_name(name, k), "") for b in schema.get("oneOf", []) for k in b.get("properties", {})},
    }
    variant, told_by = variant_of(schema, told)
    out: dict[str, Any] = {}
    for key, sub in variant.get("properties", {}).items():
        value = sub["const"] if key == told_by else _parse_one(sub, posted, _join_name(name, key))
        if value is not OMIT:
            out[key] = value
    if out.get("operation") == "delete" and not out.get("content", "x"):
        del out["content"]  # a file that is deleted has no content, not an empty one
    return out


def _parse_one(schema: Schema, posted: Mapping[str, str], name: str) -> Any:
    kind = kind_of(schema)
    if kind == "rows":
        return [parse_fields(schema["items"], posted, f"{name}.{n}") for n in _numbers(posted, name)]
    if kind == "group":
        return parse_fields(schema, posted, name) or OMIT
    text = posted.get(name)
    if text is None:
        return OMIT
    text = text.replace("\r\n", "\n").replace("\x00", "")
    if kind == "code":
        return text
    if not text.strip():
        return OMIT
    return _plain(schema, kind, text)


def _plain(schema: Schema, kind: str, text: str) -> Any:
    if kind == "number":
        return _number(text)
    if kind == "yesno":
        return {"true": True, "false": False}.get(text, text)
    if kind == "list":
        parts = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
        return parts if schema["items"]["type"] == "string" else [_number(part) for part in parts]
    if kind == "json":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _number(text: str) -> Any:
    """The number, or the text as typed where it is none that JSON could hold."""
    for kind in (int, float):
        with suppress(ValueError):
            number = kind(text)
            return number if abs(number) <= MAX_INTEGER else text
    return text


def _numbers(posted: Mapping[str, str], name: str) -> list[int]:
    """Which rows of a list were posted, in order; gaps close."""
    start = name + "."
    firsts = {key[len(start) :].partition(".")[0] for key in posted if key.startswith(start)}
    return sorted({int(n) for n in firsts if n.isdecimal() and len(n) < 7})[:MAX_ROWS]


def edit_rows(value: Any, command: str) -> None:
    """Add a row (`add:changes`) or take one away (`remove:changes.1`), in place; anything else does nothing."""
    verb, _, path = command.partition(":")
    *parents, last = path.split(".")
    for part in parents:
        value = _step(value, part)
    if verb == "add" and last and isinstance(value, dict):
        rows = value.setdefault(last, [])
        if isinstance(rows, list) and len(rows) < MAX_ROWS:
            rows.append({})
    elif verb == "remove" and isinstance(value, list) and last.isdecimal() and int(last) < len(value):
        del value[int(last)]


def _step(value: Any, part: str) -> Any:
    if isinstance(value, list):
        return value[int(part)] if part.isdecimal() and int(part) < len(value) else None
    return value.get(part) if isinstance(value, dict) else None


def _text(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if kind == "json":
        return json.dumps(value, indent=2) if not isinstance(value, str) else value
    if kind == "yesno" and isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _join_name(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
