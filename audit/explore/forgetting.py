"""What is erased can no longer be found: a trigger takes a private value's words away with it, whoever erases it."""

from django.db.backends.base.base import BaseDatabaseWrapper

WORDS_OF = "DELETE FROM audit_word WHERE subject_id = OLD.subject_id AND seq = OLD.seq AND name = OLD.name"
POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION audit_forget_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {WORDS_OF}; RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER audit_private_erased AFTER UPDATE ON audit_privatevalue
    FOR EACH ROW WHEN (NEW.value IS NULL) EXECUTE FUNCTION audit_forget_words();
CREATE OR REPLACE TRIGGER audit_private_deleted AFTER DELETE ON audit_privatevalue
    FOR EACH ROW EXECUTE FUNCTION audit_forget_words()
"""
SQLITE = (
    "CREATE TRIGGER IF NOT EXISTS audit_private_erased AFTER UPDATE ON audit_privatevalue "
    f"WHEN NEW.value IS NULL BEGIN {WORDS_OF}; END",
    f"CREATE TRIGGER IF NOT EXISTS audit_private_deleted AFTER DELETE ON audit_privatevalue BEGIN {WORDS_OF}; END",
)


def keep(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers; harmless when they are there."""
    with connection.cursor() as cursor:
        for statement in [POSTGRESQL] if connection.vendor == "postgresql" else SQLITE:
            cursor.execute(statement)


def drop(connection: BaseDatabaseWrapper) -> None:
    """Take them out (undoing the migration)."""
    on = " ON audit_privatevalue" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for name in ("audit_private_erased", "audit_private_deleted"):
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on}")
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION IF EXISTS audit_forget_words()")
