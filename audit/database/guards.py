"""Guard the records inside the database: triggers that refuse changes, and a role that owns nothing."""

import re
from collections.abc import Iterable

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

SEALS = ("audit_leaf", "audit_tile", "audit_signedtreehead")
TABLES = ("audit_event", "audit_artifact", *SEALS)
ADVICE = "is append-only: record a new event instead"

POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% {ADVICE}', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""
# ALWAYS: also for a session that calls itself a replica.
POSTGRESQL_TRIGGERS = """
CREATE OR REPLACE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE OR REPLACE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change;
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate
"""
SQLITE_TRIGGERS = """
CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} {advice}'); END
"""
# INSERT OR REPLACE deletes without firing the DELETE trigger (unless recursive_triggers is on); this sees it coming.
# What an archive covers that was read back and verified (audit.retention) may be taken out, and nothing else.
IS_ARCHIVED = """EXISTS (SELECT 1 FROM audit_leaf l JOIN audit_archive a ON a.tenant = l.tenant AND a.prunable
    AND l.log_index >= a.first AND l.log_index < a.upto WHERE l.event_id = OLD.id)"""
POSTGRESQL_PRUNING = f"""
CREATE OR REPLACE FUNCTION audit_refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF {IS_ARCHIVED} THEN RETURN OLD; END IF;
    END IF;
    RAISE EXCEPTION '% {ADVICE}', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_event_change();
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_no_change
"""
SQLITE_PRUNING = (
    "DROP TRIGGER IF EXISTS audit_event_no_DELETE",
    f"""CREATE TRIGGER audit_event_no_DELETE BEFORE DELETE ON audit_event WHEN NOT {IS_ARCHIVED}
BEGIN SELECT RAISE(ABORT, 'audit_event {ADVICE}'); END""",
)
SQLITE_EVENT_EXISTS = f"""
CREATE TRIGGER IF NOT EXISTS audit_event_no_replace BEFORE INSERT ON audit_event
WHEN EXISTS (SELECT 1 FROM audit_event WHERE id = NEW.id OR (subject_id = NEW.subject_id AND seq = NEW.seq))
BEGIN SELECT RAISE(ABORT, 'UNIQUE: this event exists and audit_event {ADVICE}'); END
"""
SQLITE_ARTIFACT_EXISTS = f"""
CREATE TRIGGER IF NOT EXISTS audit_artifact_no_replace BEFORE INSERT ON audit_artifact
WHEN EXISTS (SELECT 1 FROM audit_artifact
    WHERE id = NEW.id OR (tenant = NEW.tenant AND digest = NEW.digest AND n = NEW.n AND data IS NOT NEW.data))
BEGIN SELECT RAISE(ABORT, 'UNIQUE: this artifact exists and audit_artifact {ADVICE}'); END
"""
SQLITE_SEAL_EXISTS = """
CREATE TRIGGER IF NOT EXISTS {table}_no_replace BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
BEGIN SELECT RAISE(ABORT, 'UNIQUE: this is sealed and {table} {advice}'); END
"""
SEALED_TWICE = {
    "audit_leaf": "event_id = NEW.event_id OR (tenant = NEW.tenant AND log_index = NEW.log_index)",
    "audit_tile": "id = NEW.id OR (tenant = NEW.tenant AND level = NEW.level AND n = NEW.n)",
    "audit_signedtreehead": "id = NEW.id OR (tenant = NEW.tenant AND number = NEW.number)",
}
# The same chunk again is no harm, but REPLACE would give it a new row id: leave the old row alone.
SQLITE_ARTIFACT_SAME = """
CREATE TRIGGER IF NOT EXISTS audit_artifact_same BEFORE INSERT ON audit_artifact
WHEN EXISTS (SELECT 1 FROM audit_artifact
    WHERE tenant = NEW.tenant AND digest = NEW.digest AND n = NEW.n AND data IS NEW.data)
BEGIN SELECT RAISE(IGNORE); END
"""


def protect(connection: BaseDatabaseWrapper, tables: Iterable[str] = TABLES) -> None:
    """Install the triggers of the tables that there are; harmless when they are there."""
    there = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for statement in _protect_statements(connection.vendor, [table for table in tables if table in there]):
            cursor.execute(statement)
        if "audit_archive" in there and "audit_event" in tables:
            for statement in [POSTGRESQL_PRUNING] if connection.vendor == "postgresql" else SQLITE_PRUNING:
                cursor.execute(statement)


def forbid_pruning(connection: BaseDatabaseWrapper) -> None:
    """Let nothing be taken out again (undoing the migration that knows archives)."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRESQL_TRIGGERS.format(table="audit_event"))
            cursor.execute("DROP FUNCTION IF EXISTS audit_refuse_event_change()")
        else:
            cursor.execute("DROP TRIGGER IF EXISTS audit_event_no_DELETE")
            cursor.execute(SQLITE_TRIGGERS.format(table="audit_event", verb="DELETE", advice=ADVICE))


def unprotect(connection: BaseDatabaseWrapper, tables: Iterable[str] = TABLES) -> None:
    """Remove the triggers (undoing a migration; emptying a test database)."""
    there = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for statement in _unprotect_statements(connection.vendor, [table for table in tables if table in there]):
            cursor.execute(statement)


def _protect_statements(vendor: str, tables: list[str]) -> list[str]:
    if vendor == "postgresql":
        return [POSTGRESQL_FUNCTION, *(POSTGRESQL_TRIGGERS.format(table=table) for table in tables)]
    changes = [SQLITE_TRIGGERS.format(table=t, verb=v, advice=ADVICE) for t in tables for v in ("UPDATE", "DELETE")]
    exists = [
        SQLITE_SEAL_EXISTS.format(table=t, same=SEALED_TWICE[t], advice=ADVICE) for t in tables if t in SEALED_TWICE
    ]
    return [*changes, *exists, SQLITE_EVENT_EXISTS, SQLITE_ARTIFACT_EXISTS, SQLITE_ARTIFACT_SAME]


def _unprotect_statements(vendor: str, tables: list[str]) -> list[str]:
    if vendor == "postgresql":
        names = [(f"{t}_{what}", t) for t in tables for what in ("no_change", "no_truncate")]
        dropped = [f"DROP TRIGGER IF EXISTS {name} ON {t}" for name, t in names]
        return [*dropped, *(["DROP FUNCTION IF EXISTS audit_refuse_change()"] if "audit_event" in tables else [])]
    names_only = [f"{t}_{what}" for t in tables for what in ("no_UPDATE", "no_DELETE", "no_replace")]
    same = ["audit_artifact_same"] if "audit_artifact" in tables else []
    return [f"DROP TRIGGER IF EXISTS {name}" for name in [*names_only, *same]]


# What is erased can no longer be found: a trigger takes a private value's words away with it, whoever erases it.


DELETE_WORDS = "DELETE FROM audit_word WHERE subject_id = OLD.subject_id AND seq = OLD.seq AND name = OLD.name"
POSTGRESQL_ERASURE = f"""
CREATE OR REPLACE FUNCTION audit_forget_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {DELETE_WORDS}; RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER audit_private_erased AFTER UPDATE ON audit_privatevalue
    FOR EACH ROW WHEN (NEW.value IS NULL) EXECUTE FUNCTION audit_forget_words();
CREATE OR REPLACE TRIGGER audit_private_deleted AFTER DELETE ON audit_privatevalue
    FOR EACH ROW EXECUTE FUNCTION audit_forget_words()
"""
SQLITE_ERASURE = (
    "CREATE TRIGGER IF NOT EXISTS audit_private_erased AFTER UPDATE ON audit_privatevalue "
    f"WHEN NEW.value IS NULL BEGIN {DELETE_WORDS}; END",
    f"CREATE TRIGGER IF NOT EXISTS audit_private_deleted AFTER DELETE ON audit_privatevalue BEGIN {DELETE_WORDS}; END",
)


def install_erasure_trigger(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers; harmless when they are there."""
    with connection.cursor() as cursor:
        for statement in [POSTGRESQL_ERASURE] if connection.vendor == "postgresql" else SQLITE_ERASURE:
            cursor.execute(statement)


def remove_erasure_trigger(connection: BaseDatabaseWrapper) -> None:
    """Take them out (undoing the migration)."""
    on = " ON audit_privatevalue" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for name in ("audit_private_erased", "audit_private_deleted"):
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on}")
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION IF EXISTS audit_forget_words()")


# The role that the product's processes sign in as on PostgreSQL: it owns nothing, and what the log is made of it can
# only read and add to. Triggers are a guard rail; this is the wall. Whoever owns the tables (migrations, pruning) is
# somebody else, and signs in seldom.


ROLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

RIGHTS = """
    SELECT c.relname, pg_has_role(c.relowner, 'USAGE'), has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE')
    FROM pg_class c WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'p') ORDER BY 1"""


def role_name_fault(role: str) -> str:
    """Why this cannot be the role's name; empty when it can. Pure."""
    if not ROLE_NAME.fullmatch(role) or role.startswith("pg_"):
        return "A role's name has lower-case letters, digits and underscores, and does not begin with pg_."
    return ""


def create_app_role(role: str, password: str) -> None:
    """Create the role or set its password, and grant it exactly what it needs, in one transaction. Owner's rights."""
    name = sql.Identifier(role)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
        flags = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD")
        _execute(cursor, sql.SQL("{} ROLE {} {} {}").format(verb, name, flags, sql.Literal(password)))
        _execute(cursor, sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
        _execute(cursor, sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(name))
        _execute(
            cursor,
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(name),
        )
        _execute(cursor, sql.SQL("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {}").format(name))
        for table in TABLES:
            _execute(cursor, sql.SQL("REVOKE UPDATE, DELETE ON {} FROM {}").format(sql.Identifier(table), name))


def find_excess_rights() -> list[str]:
    """What the role of this connection can do to the log beyond reading and adding; empty if nothing."""
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


def _execute(cursor, statement: sql.Composed) -> None:  # type: ignore[no-untyped-def]
    cursor.execute(statement.as_string(None))
