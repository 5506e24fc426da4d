"""The role of the product's processes: it adds to the log and reads it, and whatever else it tries is refused."""

import os

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection

from audit.database.guards import find_excess_rights, role_name_fault
from audit.log.events import record
from audit.models import Event
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]
ROLE = "interlock_app_test"
FORBIDDEN = [
    "UPDATE audit_event SET verb = 'x'",
    "DELETE FROM audit_event",
    "TRUNCATE audit_event",
    "DELETE FROM audit_leaf",
    "UPDATE audit_signedtreehead SET note = 'x'",
    "DELETE FROM audit_artifact",
    "ALTER TABLE audit_event DISABLE TRIGGER ALL",
    "DROP TRIGGER audit_event_no_change ON audit_event",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$",
    "DROP TABLE audit_event",
]


@pytest.fixture
def role():
    """A role made by the command, and what connects as it."""
    os.environ["APP_ROLE_PASSWORD"] = "s3cret with ' quote"
    call_command("create_app_role", ROLE)
    call_command("create_app_role", ROLE)  # again, as after each migration
    options = {k: v for k, v in connection.get_connection_params().items() if k in ("dbname", "host", "port")}
    try:
        yield lambda: psycopg.connect(**options, user=ROLE, password=os.environ["APP_ROLE_PASSWORD"], autocommit=True)
    finally:
        del os.environ["APP_ROLE_PASSWORD"]
        with connection.cursor() as cursor:
            cursor.execute(f"DROP OWNED BY {ROLE}")
            cursor.execute(f"DROP ROLE {ROLE}")


@pytest.mark.postgresql
def test_it_adds_and_reads_and_can_do_nothing_else_to_the_log(role) -> None:
    record(an_entry(a_subject()))
    with role() as there:
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.Error):
                there.execute(statement)
        assert there.execute("SELECT count(*) FROM audit_event").fetchone() == (1,)
        columns = "tenant, subject_kind, subject_id, seq, verb, outcome, actor, correlation_id, at, body, hash"
        there.execute(
            f"INSERT INTO audit_event ({columns}) SELECT {columns.replace('seq', 'seq + 1', 1)} FROM audit_event"
        )
        there.execute("UPDATE audit_privatevalue SET value = NULL, salt = NULL")
    assert Event.objects.count() == 2


@pytest.mark.postgresql
def test_the_check_tells_an_owner_from_the_role(role) -> None:
    found = {m.id: m for m in run_checks(include_deployment_checks=True, databases=["default"])}
    assert "could rewrite the audit log" in found["interlock.W007"].msg
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {ROLE}")
        try:
            assert find_excess_rights() == []
        finally:
            cursor.execute("RESET ROLE")


@pytest.mark.sqlite
def test_where_there_are_no_roles_the_command_says_so() -> None:
    with pytest.raises(CommandError, match="SQLite has no roles"):
        call_command("create_app_role", ROLE)


@pytest.mark.parametrize("name", ["", "Robert'); DROP", "pg_owner", "a" * 64, "two words"])
def test_a_name_that_is_none_is_refused_in_words(name: str) -> None:
    assert role_name_fault(name)


def test_the_log_of_a_tenant_without_retention_is_not_archived() -> None:
    with pytest.raises(CommandError, match="forever"):
        call_command("archive_audit", "--tenant", str(TENANT))
