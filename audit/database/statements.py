"""Prepared statements, and inserts of many rows into several tables at once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection, models
from django.db.backends.postgresql.base import ServerBindingCursor


def run_prepared(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """
    Execute one statement; return its rows, if it gives any. On PostgreSQL the server binds its parameters.

    Django binds in the client, so the server parses and plans each of its statements anew. This one is prepared at
    its second use (`prepare_threshold`), so its text must not depend on the values or their number. Raises what
    Django's cursor would.
    """
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    wrap = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    with wrap(psycopg.Cursor(connection.connection)) as cursor:  # type: ignore[arg-type]
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def prepared_reads() -> Iterator[None]:
    """Have the ORM's queries inside prepared like `run_prepared`'s statements: for queries whose text seldom varies."""
    if connection.vendor != "postgresql":
        yield
        return
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    raw = connection.connection
    usual, raw.cursor_factory = raw.cursor_factory, ServerBindingCursor
    try:
        yield
    finally:
        raw.cursor_factory = usual


# Insert many rows cheaply, into several tables at once: one prepared statement on PostgreSQL, whatever the number of
# rows (binary COPY for very many); `executemany` on SQLite.


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
PYTHON_TYPES: dict[type[models.Field], type] = {
    models.BinaryField: bytes,
    models.UUIDField: UUID,
    models.CharField: str,
    models.TextField: str,
    models.IntegerField: int,
    models.BooleanField: bool,
    models.DateTimeField: datetime,
    models.FloatField: float,
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
        tables = tuple((part.model, part.columns, part.ignore_existing, len(part.rows) == 1) for part in bound)
        run_prepared(_statement(tables), [value for part in bound for value in _values(part)])


def _is_copied(part: Rows) -> bool:
    return len(part.rows) >= COPY_FROM and not part.ignore_existing


@cache
def _statement(tables: tuple[tuple[type[models.Model], tuple[str, ...], bool, bool], ...]) -> str:
    """One INSERT for the last table; the others ride before it."""
    *others, last = [_insert(*table) for table in tables]
    riding = ", ".join(f"w{n} AS ({insert})" for n, insert in enumerate(others))
    return f"WITH {riding} {last}" if riding else last


def _insert(model: type[models.Model], columns: tuple[str, ...], ignore_existing: bool, is_single: bool) -> str:
    """Takes a value per column for a single row, else an array: in binary, as text would cost several times as much."""
    types = [_type(_fields(model)[column]) for column in columns]
    if is_single:
        source = f"VALUES ({', '.join(f'%s::{name}' for name in types)})"
    else:
        source = f"SELECT * FROM unnest({', '.join(f'%b::{name}[]' for name in types)})"
    on_conflict = " ON CONFLICT DO NOTHING" if ignore_existing else ""
    return f"INSERT INTO {_target(model, columns)} {source}{on_conflict}"


def _values(part: Rows) -> list[Any]:
    """What `_insert` takes: the values of the only row, or an array per column."""
    fields = [_fields(part.model)[column] for column in part.columns]
    arrays = [_bound(field, column) for field, column in zip(fields, zip(*part.rows, strict=True), strict=True)]
    return [array[0] for array in arrays] if len(part.rows) == 1 else arrays


def _bound(field: models.Field, values: Sequence[Any]) -> list[Any]:
    """Values as the driver takes them. Those of a field's own Python type need no conversion."""
    kind = _python_type(field)
    if kind is bytes:
        return list(values)
    return [v if v is None or type(v) is kind else field.get_db_prep_save(v, connection) for v in values]


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
    arrays = [_bound(field, column) for field, column in zip(fields, zip(*part.rows, strict=True), strict=True)]
    statement = f"COPY {_target(part.model, part.columns)} FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.set_types([_type(field) for field in fields])
        for row in zip(*arrays, strict=True):
            copy.write_row(row)


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


@cache
def _python_type(field: models.Field) -> type | None:
    """The type whose values a field passes on as they are, if there is one."""
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    return next((kind for known, kind in PYTHON_TYPES.items() if isinstance(target, known)), None)
