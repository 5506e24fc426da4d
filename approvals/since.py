"""Since when somebody holds a role: kept by triggers, so that no way of giving one goes unnoticed.

A membership begins anew when it is made (again), when its role gets another name or group, and when its principal is
made active or a person. A grant begins anew when its row is made or changed. On SQLite, a migration that rebuilds one
of these tables loses its triggers and calls `keep` again (a test looks for them).
"""

from django.db.backends.base.base import BaseDatabaseWrapper

MEMBERS, PEOPLE, ROLES = "tenants_principal_groups", "tenants_principal", "tenants_role"
GRANTS = {
    "tenant": "tenants_tenantgroupobjectpermission",
    "environment": "tenants_environmentgroupobjectpermission",
}
NOW = {"postgresql": "clock_timestamp()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')"}
REVIVED = "(NEW.is_active AND NOT OLD.is_active) OR (NEW.kind <> OLD.kind)"
MOVED = "NEW.name <> OLD.name OR NEW.group_id <> OLD.group_id OR NEW.tenant_id <> OLD.tenant_id"


def triggers(now: str) -> list[tuple[str, str, str, str, str]]:
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
            REVIVED,
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
            MOVED,
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


def keep(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers, and count what stands already as having stood for ever; harmless when they are there."""
    with connection.cursor() as cursor:
        for name, table, event, condition, statements in triggers(NOW[connection.vendor]):
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


def forget(connection: BaseDatabaseWrapper) -> None:
    """Take the triggers out."""
    with connection.cursor() as cursor:
        for name, table, *_ in triggers(NOW[connection.vendor]):
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
                cursor.execute(f"DROP FUNCTION IF EXISTS {name}()")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
