"""Triggers on policy versions, for what no check constraint can say.

Versions count 1, 2, 3 … without gaps; what is no longer a draft never changes its wording; none is deleted. A state
moves draft → published | abandoned, and published ⇄ retired. On SQLite a migration that rebuilds the table loses its
triggers and calls `protect` again (a test looks for them).
"""

from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "approvals_policyversion"
WORDING = (
    "id",
    "policy_id",
    "version",
    "expression",
    "effect",
    "seats",
    "message",
    "overridable",
    "mode",
    "author_id",
    "created_at",
)
MOVES = (("draft", "published"), ("draft", "abandoned"), ("published", "retired"), ("retired", "published"))
GAP = f"NEW.version <> 1 + COALESCE((SELECT max(version) FROM {TABLE} WHERE policy_id = NEW.policy_id), 0)"
RULES = {
    "insert": ("approvals_version_follows", GAP, "versions of a policy count 1, 2, 3 without gaps"),
    "update": (
        "approvals_version_kept",
        "(OLD.state <> 'draft' AND ({changed})) OR (OLD.state <> NEW.state AND NOT ({moves}))",
        "a version that was published or abandoned does not change: draft the next one",
    ),
    "delete": ("approvals_version_stays", "TRUE", "versions of a policy are never deleted"),
}


def protect(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers; harmless when they are there."""
    with connection.cursor() as cursor:
        for verb, (name, is_wrong, message) in RULES.items():
            for statement in _statements(connection.vendor, verb, name, _filled(connection.vendor, is_wrong), message):
                cursor.execute(statement)


def unprotect(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        for name, _, _ in RULES.values():
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {TABLE}")
                cursor.execute(f"DROP FUNCTION IF EXISTS {name}()")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def _filled(vendor: str, is_wrong: str) -> str:
    differs = "IS DISTINCT FROM" if vendor == "postgresql" else "IS NOT"
    changed = " OR ".join(f"OLD.{column} {differs} NEW.{column}" for column in WORDING)
    moves = " OR ".join(f"(OLD.state = '{old}' AND NEW.state = '{new}')" for old, new in MOVES)
    return is_wrong.format(changed=changed, moves=moves) if "{" in is_wrong else is_wrong


def _statements(vendor: str, verb: str, name: str, is_wrong: str, message: str) -> list[str]:
    if vendor == "postgresql":
        row = "OLD" if verb == "delete" else "NEW"
        return [
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {is_wrong} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF; "
            f"RETURN {row}; END $$",
            f"CREATE OR REPLACE TRIGGER {name} BEFORE {verb.upper()} ON {TABLE} FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]
    return [
        f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {verb.upper()} ON {TABLE} WHEN {is_wrong} "
        f"BEGIN SELECT RAISE(ABORT, 'CHECK: {message}'); END"
    ]
