"""
Insert many rows cheaply, into several tables at once: one prepared statement on PostgreSQL, whatever the number of
rows (binary COPY for very many); `executemany` on SQLite.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection, models

from audit.statements import run_prepared

COPY_FROM = 100  # rows; below this the round trips of COPY cost more than it saves (measured)
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


@dataclass(frozen=True)
class Rows:
    """Rows for one table: Python values in the order of `columns`, which are database column names.

    With `ignore_existing`, rows that break a unique constraint are left out.
    """

    model: type[models.Model]
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    ignore_existing: bool = False


def insert_rows(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]], *, ignore_existing: bool = False
) -> None:
    """Insert `rows` into one table; see `insert_together`."""
    insert_together([Rows(model, tuple(columns), rows, ignore_existing)])


def insert_together(parts: Iterable[Rows]) -> None:
    """Insert into each table its rows: all in one statement on PostgreSQL, in this order elsewhere.

    No defaults are filled in, no signals sent, no ids returned. Raises what an ordinary insert would (IntegrityError,
    DataError). Atomic only inside a transaction, except for fewer than 100 rows a table on PostgreSQL.
    """
    wanted = [part for part in parts if part.rows]
    if connection.vendor != "postgresql":
        for part in wanted:
            _execute_many(part)
        return
    for part in wanted:
        if _is_copied(part):
            _copy(part)
    bound = [part for part in wanted if not _is_copied(part)]
    if bound:
        statement = _statement(tuple((part.model, part.columns, part.ignore_existing) for part in bound))
        run_prepared(statement, [array for part in bound for array in _arrays(part)])


def _is_copied(part: Rows) -> bool:
    return len(part.rows) >= COPY_FROM and not part.ignore_existing


@cache
def _statement(tables: tuple[tuple[type[models.Model], tuple[str, ...], bool], ...]) -> str:
    """One INSERT for the last table; the others ride before it. Each takes an array per column.

    They are bound in binary: as text, writing them costs several times as much.
    """
    *others, last = [_insert(*table) for table in tables]
    riding = ", ".join(f"w{n} AS ({insert})" for n, insert in enumerate(others))
    return f"WITH {riding} {last}" if riding else last


def _insert(model: type[models.Model], columns: tuple[str, ...], ignore_existing: bool) -> str:
    arrays = ", ".join(f"%b::{_type(_fields(model)[column])}[]" for column in columns)
    on_conflict = " ON CONFLICT DO NOTHING" if ignore_existing else ""
    return f"INSERT INTO {_target(model, columns)} SELECT * FROM unnest({arrays}){on_conflict}"


def _arrays(part: Rows) -> list[list[Any]]:
    fields = [_fields(part.model)[column] for column in part.columns]
    return [
        list(column) if isinstance(field, models.BinaryField) else [_bound(field, value) for value in column]
        for field, column in zip(fields, zip(*part.rows, strict=True), strict=True)
    ]


def _bound(field: models.Field, value: Any) -> Any:
    return value if value is None else field.get_db_prep_save(value, connection)


def _execute_many(part: Rows) -> None:
    fields = [_fields(part.model)[column] for column in part.columns]
    verb = "INSERT OR IGNORE" if part.ignore_existing else "INSERT"
    marks = ", ".join(["%s"] * len(fields))
    values = [
        [field.get_db_prep_save(value, connection) for field, value in zip(fields, row, strict=True)]
        for row in part.rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(f"{verb} INTO {_target(part.model, part.columns)} VALUES ({marks})", values)


def _copy(part: Rows) -> None:
    fields = [_fields(part.model)[column] for column in part.columns]
    is_bytes = [isinstance(field, models.BinaryField) for field in fields]
    statement = f"COPY {_target(part.model, part.columns)} FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.set_types([_type(field) for field in fields])
        for row in part.rows:
            copy.write_row(
                [
                    value if raw else _bound(field, value)
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
def _type(field: models.Field) -> str:
    db_type = (field.rel_db_type(connection) if field.is_relation else field.db_type(connection)) or ""
    name = db_type.split("(")[0].strip()
    return {"varchar": "varchar", "numeric": "numeric", **COPY_TYPES}[name]
