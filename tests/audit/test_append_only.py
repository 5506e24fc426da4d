"""The triggers: what was recorded is neither changed nor removed, by any statement."""

import pytest
from django.db import DatabaseError, connection, transaction

from audit.database import guards
from audit.log import artifacts
from audit.log.events import record
from audit.models import Artifact, Event
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]
COLUMNS = "tenant, subject_kind, subject_id, seq, verb, outcome, actor, correlation_id, at, body, hash"
SQLITE_ONLY = [
    f"INSERT OR REPLACE INTO audit_event ({COLUMNS}) SELECT {COLUMNS.replace('verb', chr(39) + 'x' + chr(39))} "
    "FROM audit_event",
    f"REPLACE INTO audit_event (id, {COLUMNS}) SELECT id, {COLUMNS.replace(' seq', ' seq + 9')} FROM audit_event",
    "UPDATE OR REPLACE audit_event SET verb = 'x'",
    "INSERT OR REPLACE INTO audit_artifact (tenant, digest, n, chunks, size, media_type, data) "
    "SELECT tenant, digest, n, chunks, size, media_type, x'00' FROM audit_artifact",
]
POSTGRESQL_ONLY = [
    "TRUNCATE audit_event",
    "TRUNCATE audit_artifact, audit_event CASCADE",
    f"INSERT INTO audit_event ({COLUMNS}) SELECT {COLUMNS} FROM audit_event "
    "ON CONFLICT (subject_id, seq) DO UPDATE SET verb = 'x'",
    "SET LOCAL session_replication_role = replica; DELETE FROM audit_event",
]
EVERYWHERE = [
    "UPDATE audit_event SET verb = 'x'",
    "UPDATE audit_event SET id = id + 1",
    "DELETE FROM audit_event",
    "UPDATE audit_artifact SET media_type = 'x'",
    "DELETE FROM audit_artifact",
]
STATEMENTS = {"sqlite": EVERYWHERE + SQLITE_ONLY, "postgresql": EVERYWHERE + POSTGRESQL_ONLY}


def everything():
    return list(Event.objects.order_by("id").values()), list(Artifact.objects.order_by("id").values())


@pytest.fixture
def kept():
    for _ in range(2):
        record(an_entry(a_subject()))
    artifacts.store_artifact(TENANT, b"a log", "text/plain")
    return everything()


def test_every_statement_that_would_change_the_log_is_refused(kept):
    for statement in STATEMENTS[connection.vendor]:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        assert everything() == kept, statement


def test_storing_an_artifact_again_is_allowed_and_changes_nothing(kept):
    artifacts.store_artifact(TENANT, b"a log", "text/plain")
    assert everything() == kept


def test_protecting_twice_is_harmless_and_the_triggers_can_be_taken_off(kept):
    guards.protect(connection)
    guards.unprotect(connection)
    assert Event.objects.all().delete()[0] == 2
    guards.protect(connection)
    record(an_entry(a_subject()))
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Event.objects.all().delete()
