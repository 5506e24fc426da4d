"""Database triggers of this floor.

Role tenure: since when a role is held, however it was given. A membership restarts when it is created (again), when its
role gets another name or group, and when its principal becomes active or a person. A grant restarts when its row is
created or changed.

Policy versions: they count 1, 2, 3 without gaps; only a draft changes its text; none is deleted. States change
draft to published or abandoned, and published to retired and back.

On SQLite, a migration that rebuilds one of these tables loses its triggers and installs them again (a test looks).
"""

from django.db.backends.base.base import BaseDatabaseWrapper

MEMBERS, PEOPLE, ROLES = "tenants_principal_groups", "tenants_principal", "tenants_role"
GRANTS = {
    "tenant": "tenants_tenantgroupobjectpermission",
    "environment": "tenants_environmentgroupobjectpermission",
}
NOW = {"postgresql": "clock_timestamp()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')"}
REACTIVATED = "(NEW.is_active AND NOT OLD.is_active) OR (NEW.kind <> OLD.kind)"
ROLE_CHANGED = "NEW.name <> OLD.name OR NEW.group_id <> OLD.group_id OR NEW.tenant_id <> OLD.tenant_id"


def role_tenure_triggers(now: str) -> list[tuple[str, str, str, str, str]]:
    """(name, table, event, condition, statements) of every trigger."""
    joined = (
        "INSERT INTO approvals_membersince (principal_id, group_id, since) "
        f"VALUES (NEW.principal_id, NEW.group_id, {now}) "
        "ON CONFLICT (principal_id, group_id) DO UPDATE SET since = excluded.since;"
    )
    left = "DELETE FROM approvals_membersince WHERE principal_id = OLD.principal_id AND group_id = OLD.group_id;"
    found = [
        ("approvals_joined", MEMBERS, "INSERT", "", joined),
        ("approvals_moved", MEMBERS, "UPDATE", "", f"{left} {joined}"),
        ("approvals_left", MEMBERS, "DELETE", "", left),
        (
            "approvals_revived",
            PEOPLE,
            "UPDATE",
            REACTIVATED,
            f"UPDATE approvals_membersince SET since = {now} WHERE principal_id = NEW.id;",
        ),
        (
            "approvals_role_made",
            ROLES,
            "INSERT",
            "",
            f"UPDATE approvals_membersince SET since = {now} WHERE group_id = NEW.group_id;",
        ),
        (
            "approvals_role_moved",
            ROLES,
            "UPDATE",
            ROLE_CHANGED,
            f"UPDATE approvals_membersince SET since = {now} WHERE group_id = NEW.group_id;",
        ),
    ]
    for kind, table in GRANTS.items():
        granted = (
            f"INSERT INTO approvals_grantsince (kind, grant_id, since) VALUES ('{kind}', NEW.id, {now}) "
            "ON CONFLICT (kind, grant_id) DO UPDATE SET since = excluded.since;"
        )
        taken = f"DELETE FROM approvals_grantsince WHERE kind = '{kind}' AND grant_id = OLD.id;"
        found += [
            (f"approvals_granted_{kind}", table, "INSERT", "", granted),
            (f"approvals_regranted_{kind}", table, "UPDATE", "", f"{taken} {granted}"),
            (f"approvals_taken_{kind}", table, "DELETE", "", taken),
        ]
    return found


def install_role_tenure_triggers(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers; existing memberships and grants count from 1970. Harmless to repeat."""
    with connection.cursor() as cursor:
        for name, table, event, condition, statements in role_tenure_triggers(NOW[connection.vendor]):
            if connection.vendor == "postgresql":
                when = f"WHEN ({condition})" if condition else ""
                cursor.execute(
                    f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
                    f"$$ BEGIN {statements} RETURN NULL; END $$"
                )
                cursor.execute(
                    f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table} "
                    f"FOR EACH ROW {when} EXECUTE FUNCTION {name}()"
                )
            else:
                when = f"WHEN {condition}" if condition else ""
                sql = f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {table} {when} BEGIN {statements} END"
                cursor.execute(sql)
        always = "'1970-01-01 00:00:00+00'" if connection.vendor == "postgresql" else "'1970-01-01 00:00:00'"
        if connection.vendor == "postgresql":
            always += "::timestamptz"
        cursor.execute(
            "INSERT INTO approvals_membersince (principal_id, group_id, since) "
            f"SELECT principal_id, group_id, {always} FROM {MEMBERS} WHERE true ON CONFLICT DO NOTHING"
        )
        for kind, table in GRANTS.items():
            cursor.execute(
                f"INSERT INTO approvals_grantsince (kind, grant_id, since) SELECT '{kind}', id, {always} FROM {table} "
                "WHERE true ON CONFLICT DO NOTHING"
            )


def remove_role_tenure_triggers(connection: BaseDatabaseWrapper) -> None:
    """Remove the triggers."""
    with connection.cursor() as cursor:
        for name, table, *_ in role_tenure_triggers(NOW[connection.vendor]):
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
                cursor.execute(f"DROP FUNCTION IF EXISTS {name}()")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


# Policy versions: the rules that no check constraint can express.


VERSION_TABLE = "approvals_policyversion"
VERSION_COLUMNS = (
    "id",
    "policy_id",
    "version",
    "expression",
    "effect",
    "required_approvals",
    "message",
    "overridable",
    "mode",
    "author_id",
    "created_at",
)
VERSION_MOVES = (("draft", "published"), ("draft", "abandoned"), ("published", "retired"), ("retired", "published"))
GAP = f"NEW.version <> 1 + COALESCE((SELECT max(version) FROM {VERSION_TABLE} WHERE policy_id = NEW.policy_id), 0)"
VERSION_TRIGGERS = {
    "insert": ("approvals_version_follows", GAP, "versions of a policy count 1, 2, 3 without gaps"),
    "update": (
        "approvals_version_kept",
        "(OLD.state <> 'draft' AND ({changed})) OR (OLD.state <> NEW.state AND NOT ({moves}))",
        "a version that was published or abandoned does not change: draft the next one",
    ),
    "delete": ("approvals_version_stays", "TRUE", "versions of a policy are never deleted"),
}


def install_version_triggers(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers; harmless to repeat."""
    with connection.cursor() as cursor:
        for verb, (name, is_wrong, message) in VERSION_TRIGGERS.items():
            for statement in _statements(connection.vendor, verb, name, _filled(connection.vendor, is_wrong), message):
                cursor.execute(statement)


def remove_version_triggers(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        for name, _, _ in VERSION_TRIGGERS.values():
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {VERSION_TABLE}")
                cursor.execute(f"DROP FUNCTION IF EXISTS {name}()")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def _filled(vendor: str, is_wrong: str) -> str:
    differs = "IS DISTINCT FROM" if vendor == "postgresql" else "IS NOT"
    changed = " OR ".join(f"OLD.{column} {differs} NEW.{column}" for column in VERSION_COLUMNS)
    moves = " OR ".join(f"(OLD.state = '{old}' AND NEW.state = '{new}')" for old, new in VERSION_MOVES)
    return is_wrong.format(changed=changed, moves=moves) if "{" in is_wrong else is_wrong


def _statements(vendor: str, verb: str, name: str, is_wrong: str, message: str) -> list[str]:
    if vendor == "postgresql":
        row = "OLD" if verb == "delete" else "NEW"
        return [
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {is_wrong} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF; "
            f"RETURN {row}; END $$",
            f"CREATE OR REPLACE TRIGGER {name} BEFORE {verb.upper()} ON {VERSION_TABLE} "
            f"FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]
    return [
        f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {verb.upper()} ON {VERSION_TABLE} WHEN {is_wrong} "
        f"BEGIN SELECT RAISE(ABORT, 'CHECK: {message}'); END"
    ]
