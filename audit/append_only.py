"""Triggers that refuse to change or remove what was recorded. A guard rail, not proof: a table's owner may drop it."""

from collections.abc import Iterable

from django.db.backends.base.base import BaseDatabaseWrapper

SEALS = ("audit_leaf", "audit_tile", "audit_checkpoint")
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
COVERED = """EXISTS (SELECT 1 FROM audit_leaf l JOIN audit_archive a ON a.tenant = l.tenant AND a.prunable
    AND l.log_index >= a.first AND l.log_index < a.upto WHERE l.event_id = OLD.id)"""
POSTGRESQL_PRUNING = f"""
CREATE OR REPLACE FUNCTION audit_refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF {COVERED} THEN RETURN OLD; END IF;
    END IF;
    RAISE EXCEPTION '% {ADVICE}', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_event_change();
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_no_change
"""
SQLITE_PRUNING = (
    "DROP TRIGGER IF EXISTS audit_event_no_DELETE",
    f"""CREATE TRIGGER audit_event_no_DELETE BEFORE DELETE ON audit_event WHEN NOT {COVERED}
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
    "audit_checkpoint": "id = NEW.id OR (tenant = NEW.tenant AND number = NEW.number)",
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
        for statement in _protecting(connection.vendor, [table for table in tables if table in there]):
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
        for statement in _unprotecting(connection.vendor, [table for table in tables if table in there]):
            cursor.execute(statement)


def _protecting(vendor: str, tables: list[str]) -> list[str]:
    if vendor == "postgresql":
        return [POSTGRESQL_FUNCTION, *(POSTGRESQL_TRIGGERS.format(table=table) for table in tables)]
    changes = [SQLITE_TRIGGERS.format(table=t, verb=v, advice=ADVICE) for t in tables for v in ("UPDATE", "DELETE")]
    exists = [
        SQLITE_SEAL_EXISTS.format(table=t, same=SEALED_TWICE[t], advice=ADVICE) for t in tables if t in SEALED_TWICE
    ]
    return [*changes, *exists, SQLITE_EVENT_EXISTS, SQLITE_ARTIFACT_EXISTS, SQLITE_ARTIFACT_SAME]


def _unprotecting(vendor: str, tables: list[str]) -> list[str]:
    if vendor == "postgresql":
        names = [(f"{t}_{what}", t) for t in tables for what in ("no_change", "no_truncate")]
        dropped = [f"DROP TRIGGER IF EXISTS {name} ON {t}" for name, t in names]
        return [*dropped, *(["DROP FUNCTION IF EXISTS audit_refuse_change()"] if "audit_event" in tables else [])]
    names_only = [f"{t}_{what}" for t in tables for what in ("no_UPDATE", "no_DELETE", "no_replace")]
    same = ["audit_artifact_same"] if "audit_artifact" in tables else []
    return [f"DROP TRIGGER IF EXISTS {name}" for name in [*names_only, *same]]
