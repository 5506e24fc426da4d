"""The form and the schema agree: what is drawn can be posted, and comes back as the same value."""

from typing import Any

from actions.pages.action.json_schema_form import Field, draw_fields, edit_rows, parse_fields

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer", "default": 3},
        "ratio": {"type": "number"},
        "on": {"type": "boolean"},
        "codes": {"type": "array", "items": {"type": "integer"}},
        "odd": {"type": "object", "additionalProperties": {"type": "string"}},
        "inner": {"type": "object", "properties": {"deep": {"type": "string"}}},
        "rows": {
            "type": "array",
            "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"enum": ["x", "y"]}}},
        },
    },
}
VALUE = {
    "name": "n",
    "count": 5,
    "ratio": 0.5,
    "on": False,
    "codes": [200, 204],
    "odd": {"k": "v"},
    "inner": {"deep": "d"},
    "rows": [{"a": "1", "b": "x"}, {"a": "2"}],
}


def posted(fields: list[Field]) -> dict[str, str]:
    out: dict[str, str] = {}
    for field in fields:
        if field.rows or field.kind in ("rows", "group"):
            for row in field.rows:
                out |= posted(row)
        else:
            out[field.name] = field.value
    return out


def test_a_value_survives_being_drawn_and_posted() -> None:
    assert parse_fields(SCHEMA, posted(draw_fields(SCHEMA, VALUE, "p")), "p") == VALUE


def test_what_is_left_empty_is_left_out() -> None:
    assert parse_fields(SCHEMA, posted(draw_fields(SCHEMA, {}, "p")), "p") == {"rows": []}


def test_what_does_not_parse_is_kept_for_the_schema_to_refuse() -> None:
    sent = {"p.name": "n", "p.count": "many", "p.codes": "200, no", "p.odd": "{broken"}
    assert parse_fields(SCHEMA, sent, "p") == {
        "name": "n",
        "count": "many",
        "codes": [200, "no"],
        "odd": "{broken",
        "rows": [],
    }


def test_rows_close_the_gap_of_one_that_was_taken_away() -> None:
    sent = {"p.rows.0.a": "first", "p.rows.7.a": "eighth", "p.rows.x.a": "no number"}
    assert parse_fields(SCHEMA, sent, "p")["rows"] == [{"a": "first"}, {"a": "eighth"}]


def test_a_missing_property_is_shown_at_its_field() -> None:
    issue = {"severity": "error", "message": '"name" is a required property', "field": "p"}
    assert [f.name for f in draw_fields(SCHEMA, {}, "p", [issue]) if f.issues] == ["p.name"]


def test_commands_for_rows_that_are_not_there_do_nothing() -> None:
    value: dict[str, Any] = {"rows": [{}]}
    for command in ("", "add:", "remove:rows.5", "remove:nowhere.1.x", "add:rows.0.x.y", "drop:rows"):
        edit_rows(value, command)
    assert value == {"rows": [{}]}
