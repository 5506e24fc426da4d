"""Rows that many tests begin with are made once in a process, and put back for each later test.

Making the cast takes some two hundred statements; putting its rows back takes one. PostgreSQL only: on SQLite, which
answers in the same process, making them is as quick.
"""

import pickle
from collections.abc import Callable
from typing import TypeVar

from django.db import connection, transaction

from tests.emptying import KEPT

T = TypeVar("T")
_known: dict[str, tuple[str, bytes]] = {}


def remembered(name: str, make: Callable[[], T]) -> T:
    """What `make()` returns and the rows that it makes. It is called once; later only the rows are put back.

    What depends on more than the database, such as directories, the caller makes each time.
    """
    if connection.vendor != "postgresql":
        return make()
    if name in _known:
        rows, made = _known[name]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(rows)
        return pickle.loads(made)
    if _filled_tables():
        return make()
    made = make()
    _known[name] = (_statements(), pickle.dumps(made))
    return made


def _filled_tables() -> list[str]:
    tables = [table for table in connection.introspection.table_names() if table not in KEPT]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"SELECT '{t}' WHERE EXISTS (SELECT 1 FROM \"{t}\")" for t in tables))
        return [row[0] for row in cursor.fetchall()]


def _statements() -> str:
    """What puts every row of now back, in one go. No trigger fires: they all fired when the rows were made."""
    inserts = []
    with connection.cursor() as cursor:
        for table in _filled_tables():
            cursor.execute(
                "SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) "
                "FROM information_schema.columns "
                "WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
                [table],
            )
            columns = cursor.fetchone()[0]
            cursor.execute(f'SELECT quote_literal(json_agg(t)::text) FROM "{table}" t')
            rows = cursor.fetchone()[0]
            source = f'json_populate_recordset(NULL::"{table}", {rows})'
            inserts.append(f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM {source}')
    off, on = "SET LOCAL session_replication_role = replica", "SET LOCAL session_replication_role = origin"
    return ";\n".join([off, *inserts, on])
