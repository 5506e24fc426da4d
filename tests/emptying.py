"""Empty the test database after a test that committed: also the tables that are append-only in the product.

Content types and permissions stay: they come from the code, and ids that never change keep Django's caches right.
"""

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

KEPT = {"django_migrations", "django_content_type", "auth_permission"}


def install() -> None:
    """Make Django's and pytest-django's committing tests clean up with `empty`."""

    def empty_all(case: TransactionTestCase) -> None:
        for alias in case._databases_names(include_mirrors=False):
            empty(connections[alias])

    TransactionTestCase._fixture_teardown = empty_all


def empty(connection: BaseDatabaseWrapper) -> None:
    """Delete every row of every table but KEPT. Deleting beats TRUNCATE by far when tables are small."""
    tables = [table for table in connection.introspection.table_names() if table not in KEPT]
    with connection.cursor() as cursor:
        found = " UNION ALL ".join(f"SELECT '{t}' WHERE EXISTS (SELECT 1 FROM \"{t}\")" for t in tables)
        cursor.execute(found)
        full = [row[0] for row in cursor.fetchall()]
    if not full:
        return
    if connection.vendor == "postgresql":
        _empty_postgresql(connection, full)
    else:
        _empty_sqlite(connection, full)


def _empty_postgresql(connection: BaseDatabaseWrapper, tables: list[str]) -> None:
    """A replica's session fires no foreign keys; our own triggers fire ALWAYS, so they are switched off by name."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "SELECT c.relname, t.tgname, t.tgenabled = 'A' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE NOT t.tgisinternal AND c.relname = ANY(%s)",
            [tables],
        )
        triggers = cursor.fetchall()
        off = [f'ALTER TABLE "{table}" DISABLE TRIGGER "{name}"' for table, name, _ in triggers]
        on = [
            f'ALTER TABLE "{table}" ENABLE {"ALWAYS" if always else ""} TRIGGER "{name}"'
            for table, name, always in triggers
        ]
        cursor.execute(";".join([*off, *(f'DELETE FROM "{table}"' for table in tables), *on]))


def _empty_sqlite(connection: BaseDatabaseWrapper, tables: list[str]) -> None:
    """Triggers are taken out and put back by the text SQLite keeps of them."""

    def run(statement: str, *parameters: str) -> list[tuple[str, str]]:
        with connection.cursor() as cursor:
            return cursor.execute(statement, parameters).fetchall()

    with connection.constraint_checks_disabled(), transaction.atomic(using=connection.alias):
        marks = ", ".join(["%s"] * len(tables))
        triggers = run(f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ({marks})", *tables)
        for name, _ in triggers:
            run(f'DROP TRIGGER "{name}"')
        for table in tables:
            run(f'DELETE FROM "{table}"')
        for _, sql in triggers:
            run(sql)
