"""
The role that the product's processes sign in as on PostgreSQL: it owns nothing, and what the log is made of it can only
read and add to. Triggers are a guard rail; this is the wall. Whoever owns the tables (migrations, pruning) is somebody
else, and signs in seldom.
"""

import re

from django.db import connection, transaction
from psycopg import sql

from audit.append_only import TABLES

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

RIGHTS = """
    SELECT c.relname, pg_has_role(c.relowner, 'USAGE'), has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE')
    FROM pg_class c WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'p') ORDER BY 1"""


def fault_of(role: str) -> str:
    """Why this cannot be the role's name, in words; empty when it can. Pure."""
    if not NAME.fullmatch(role) or role.startswith("pg_"):
        return "A role's name has lower-case letters, digits and underscores, and does not begin with pg_."
    return ""


def create_app_role(role: str, password: str) -> None:
    """Create the role or set its password, and grant it exactly what it needs, in one transaction. Owner's rights."""
    name = sql.Identifier(role)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
        flags = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD")
        _run(cursor, sql.SQL("{} ROLE {} {} {}").format(verb, name, flags, sql.Literal(password)))
        _run(cursor, sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
        _run(cursor, sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(name))
        _run(
            cursor,
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(name),
        )
        _run(cursor, sql.SQL("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {}").format(name))
        for table in TABLES:
            _run(cursor, sql.SQL("REVOKE UPDATE, DELETE ON {} FROM {}").format(sql.Identifier(table), name))


def rights_too_many() -> list[str]:
    """What the role of this connection could do to the log beyond reading and adding, in words; empty is well."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone()[0]:
            return ["it is a superuser"]
        cursor.execute(RIGHTS, [list(TABLES)])
        rows = cursor.fetchall()
    owned = [table for table, owns, _ in rows if owns]
    changed = [table for table, owns, may in rows if may and not owns]
    found = {"it owns": owned, "it may change": changed}
    return [f"{words} {', '.join(tables)}" for words, tables in found.items() if tables]


def _run(cursor, statement: sql.Composed) -> None:  # type: ignore[no-untyped-def]
    cursor.execute(statement.as_string(None))
