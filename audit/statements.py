"""Statements of stable text on PostgreSQL: the server parses them once per connection, not every time."""

from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import connection


def run_prepared(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """
    Execute one statement with parameters bound by the server; return its rows, if it gives any. PostgreSQL only.

    Django binds in the client, so the server parses and plans each of its statements anew. This one is prepared at
    its second use (`prepare_threshold`), so its text must not depend on the values or their number. Raises what
    Django's cursor would.
    """
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    wrap = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    with wrap(psycopg.Cursor(connection.connection)) as cursor:  # type: ignore[arg-type]
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
