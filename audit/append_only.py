"""Triggers that refuse to change or remove what was recorded. A guard rail, not proof: a table's owner may drop it."""

from django.db.backends.base.base import BaseDatabaseWrapper

TABLES = ("audit_event", "audit_artifact")
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
# The same chunk again is no harm, but REPLACE would give it a new row id: leave the old row alone.
SQLITE_ARTIFACT_SAME = """
CREATE TRIGGER IF NOT EXISTS audit_artifact_same BEFORE INSERT ON audit_artifact
WHEN EXISTS (SELECT 1 FROM audit_artifact
    WHERE tenant = NEW.tenant AND digest = NEW.digest AND n = NEW.n AND data IS NEW.data)
BEGIN SELECT RAISE(IGNORE); END
"""


def protect(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers; harmless when they are there."""
    with connection.cursor() as cursor:
        for statement in _protecting(connection.vendor):
            cursor.execute(statement)


def unprotect(connection: BaseDatabaseWrapper) -> None:
    """Remove the triggers (undoing the migration; emptying a test database)."""
    with connection.cursor() as cursor:
        for statement in _unprotecting(connection.vendor):
            cursor.execute(statement)


def _protecting(vendor: str) -> list[str]:
    if vendor == "postgresql":
        return [POSTGRESQL_FUNCTION, *(POSTGRESQL_TRIGGERS.format(table=table) for table in TABLES)]
    changes = [SQLITE_TRIGGERS.format(table=t, verb=v, advice=ADVICE) for t in TABLES for v in ("UPDATE", "DELETE")]
    return [*changes, SQLITE_EVENT_EXISTS, SQLITE_ARTIFACT_EXISTS, SQLITE_ARTIFACT_SAME]


def _unprotecting(vendor: str) -> list[str]:
    if vendor == "postgresql":
        names = [(f"{t}_{what}", t) for t in TABLES for what in ("no_change", "no_truncate")]
        return [
            *(f"DROP TRIGGER IF EXISTS {name} ON {t}" for name, t in names),
            "DROP FUNCTION IF EXISTS audit_refuse_change()",
        ]
    names_only = [f"{t}_{what}" for t in TABLES for what in ("no_UPDATE", "no_DELETE", "no_replace")]
    return [f"DROP TRIGGER IF EXISTS {name}" for name in [*names_only, "audit_artifact_same"]]
