"""Statements of stable text on PostgreSQL: the server parses them once per connection, not every time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
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
