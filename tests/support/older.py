"""A database as an earlier release left it: tables of an earlier state, with the rows of a present one."""

from typing import Any

import psycopg
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def migrate_to(state: dict[str, str]) -> None:
    """Bring this process's empty database to this state ({app: migration}), and every other app to its newest."""
    executor = MigrationExecutor(connection)
    others = [node for node in executor.loader.graph.leaf_nodes() if node[0] not in state]
    executor.migrate([*state.items(), *others])


def fill_from(url: str) -> None:
    """Copy what the tables here have columns for from the PostgreSQL database at `url`. Triggers stay still."""
    connection.ensure_connection()
    here: Any = connection.connection
    with psycopg.connect(url) as source, here.cursor() as into:
        into.execute("SET session_replication_role = replica")
        tables = [t for t in connection.introspection.table_names() if t != "django_migrations"]
        triggers = _always(into)
        for table, name in triggers:
            into.execute(f'ALTER TABLE {table} DISABLE TRIGGER "{name}"')
        for table in tables:
            _copy(source, into, table)
        for table, name in triggers:
            into.execute(f'ALTER TABLE {table} ENABLE ALWAYS TRIGGER "{name}"')
        into.execute("SET session_replication_role = DEFAULT")


def _always(into: Any) -> list[tuple[str, str]]:
    """The triggers that fire even for a replica."""
    into.execute("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgenabled = 'A' AND NOT tgisinternal")
    return list(into.fetchall())


def _copy(source: Any, into: Any, table: str) -> None:
    into.execute(
        "SELECT column_name, is_identity = 'YES' FROM information_schema.columns WHERE table_name = %s "
        "AND table_schema = 'public' ORDER BY ordinal_position",
        [table],
    )
    columns = into.fetchall()
    names = ", ".join(f'"{name}"' for name, _ in columns)
    with (
        source.cursor() as cursor,
        cursor.copy(f"COPY (SELECT {names} FROM {table}) TO STDOUT") as rows,
        into.copy(f"COPY {table} ({names}) FROM STDIN") as there,
    ):
        for row in rows:
            there.write(row)
    for name in (name for name, counts in columns if counts):
        into.execute(f"SELECT setval(pg_get_serial_sequence('{table}', '{name}'), max({name})) FROM {table}")
