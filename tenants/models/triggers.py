"""Triggers for rules that span rows, which a check constraint cannot express.

An agent's owner is a person; a resource's tenant is its environment's. On SQLite, changing one of these tables rebuilds
it and loses its triggers: such a migration calls `install_triggers` again (a test checks).
"""

from django.db.backends.base.base import BaseDatabaseWrapper

OWNER_MESSAGE = "an owner must be a person"
TENANT_MESSAGE = "a resource belongs to the tenant of its environment"
BAD_OWNER = "SELECT 1 FROM tenants_principal o WHERE o.id = NEW.owner_id AND o.kind <> 'person'"
OWNS_AGENTS = "NEW.kind <> 'person' AND EXISTS (SELECT 1 FROM tenants_principal a WHERE a.owner_id = NEW.id)"
OTHER_TENANT = "SELECT 1 FROM tenants_environment e WHERE e.id = NEW.environment_id AND e.tenant_id <> NEW.tenant_id"
TRIGGERS = {
    "tenants_principal": ("tenants_owner_is_person", f"EXISTS ({BAD_OWNER}) OR ({OWNS_AGENTS})", OWNER_MESSAGE),
    "tenants_resource": ("tenants_resource_in_tenant", f"EXISTS ({OTHER_TENANT})", TENANT_MESSAGE),
}


def install_triggers(connection: BaseDatabaseWrapper) -> None:
    """Install the triggers; harmless to repeat."""
    with connection.cursor() as cursor:
        for table, (name, is_wrong, message) in TRIGGERS.items():
            for statement in _statements(connection.vendor, table, name, is_wrong, message):
                cursor.execute(statement)


def remove_triggers(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        for table, (name, _, _) in TRIGGERS.items():
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
                cursor.execute(f"DROP FUNCTION IF EXISTS {name}()")
            else:
                for verb in ("insert", "update"):
                    cursor.execute(f"DROP TRIGGER IF EXISTS {name}_{verb}")


def _statements(vendor: str, table: str, name: str, is_wrong: str, message: str) -> list[str]:
    if vendor == "postgresql":
        return [
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {is_wrong} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF; "
            f"RETURN NEW; END $$",
            f"CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]
    return [
        f"CREATE TRIGGER IF NOT EXISTS {name}_{verb} BEFORE {verb.upper()} ON {table} WHEN {is_wrong} "
        f"BEGIN SELECT RAISE(ABORT, 'CHECK: {message}'); END"
        for verb in ("insert", "update")
    ]
