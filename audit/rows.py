"""Insert many rows cheaply: binary COPY on PostgreSQL, `executemany` on SQLite, one statement either way."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import connection, models

COPY_FROM = 8  # rows; below this the round trips of COPY cost more than it saves (measured)
MAX_PARAMETERS = 60_000  # PostgreSQL counts parameters in 16 bits
COPY_TYPES = {
    "bigint": "int8",
    "integer": "int4",
    "smallint": "int2",
    "boolean": "bool",
    "uuid": "uuid",
    "text": "text",
    "bytea": "bytea",
    "jsonb": "jsonb",
    "date": "date",
    "timestamp with time zone": "timestamptz",
    "interval": "interval",
    "double precision": "float8",
    "inet": "inet",
}


def insert_rows(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]], *, ignore_existing: bool = False
) -> None:
    """Insert `rows` of Python values, in the order of `columns` (database column names).

    No defaults are filled in, no signals sent, no ids returned. With `ignore_existing`, rows that break a unique
    constraint are left out. Raises what an ordinary insert would (IntegrityError, DataError).
    """
    if not rows:
        return
    fields = [_fields(model)[column] for column in columns]
    if connection.vendor == "postgresql" and not ignore_existing and len(rows) >= COPY_FROM:
        _copy(model, columns, fields, rows)
        return
    values = [
        [field.get_db_prep_save(value, connection) for field, value in zip(fields, row, strict=True)] for row in rows
    ]
    if connection.vendor == "postgresql":
        _insert_values(model, columns, values, " ON CONFLICT DO NOTHING" if ignore_existing else "")
    else:
        verb = "INSERT OR IGNORE" if ignore_existing else "INSERT"
        marks = ", ".join(["%s"] * len(columns))
        with connection.cursor() as cursor:
            cursor.executemany(f"{verb} INTO {_target(model, columns)} VALUES ({marks})", values)


def _insert_values(
    model: type[models.Model], columns: Sequence[str], values: list[list[Any]], on_conflict: str
) -> None:
    mark = "(" + ", ".join(["%s"] * len(columns)) + ")"
    step = max(1, MAX_PARAMETERS // len(columns))
    with connection.cursor() as cursor:
        for start in range(0, len(values), step):
            part = values[start : start + step]
            marks = ", ".join([mark] * len(part))
            cursor.execute(
                f"INSERT INTO {_target(model, columns)} VALUES {marks}{on_conflict}", [v for row in part for v in row]
            )


def _copy(
    model: type[models.Model], columns: Sequence[str], fields: list[models.Field], rows: Sequence[Sequence[Any]]
) -> None:
    is_bytes = [isinstance(field, models.BinaryField) for field in fields]
    types = [_copy_type(field) for field in fields]
    statement = f"COPY {_target(model, columns)} FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(
                [
                    value if value is None or raw else field.get_db_prep_save(value, connection)
                    for field, raw, value in zip(fields, is_bytes, row, strict=True)
                ]
            )


def _target(model: type[models.Model], columns: Sequence[str]) -> str:
    quote = connection.ops.quote_name
    return f"{quote(model._meta.db_table)} ({', '.join(map(quote, columns))})"


@cache
def _fields(model: type[models.Model]) -> dict[str, models.Field]:
    return {field.column: field for field in model._meta.concrete_fields if field.column}


@cache
def _copy_type(field: models.Field) -> str:
    db_type = (field.rel_db_type(connection) if field.is_relation else field.db_type(connection)) or ""
    name = db_type.split("(")[0].strip()
    return {"varchar": "varchar", "numeric": "numeric", **COPY_TYPES}[name]
