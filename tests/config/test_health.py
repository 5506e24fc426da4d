"""Liveness asks nothing, readiness asks everything, metrics tell no tenant apart."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from audit.database.clock import uuid7
from audit.log.events import NewEvent, Subject, record
from audit.models.seals import Tree
from config.http import health

pytestmark = pytest.mark.dialect


@pytest.fixture(autouse=True)
def _forget_migrations() -> Iterator[None]:
    health._Migrations.are_applied = False
    yield
    health._Migrations.are_applied = False


def test_liveness_needs_no_database() -> None:
    assert Client().get("/healthz").status_code == 200  # pytest-django refuses every query here


def test_ready_when_database_redis_and_schema_are_there(db: None) -> None:
    response = Client().get("/readyz")
    assert response.status_code == 200
    checks = dict.fromkeys(("database", "redis", "migrations"), "ok")
    assert response.json() == {"ready": True, "checks": checks, "sealing": "ok"}


def test_readiness_is_cheap_once_the_schema_was_seen(
    db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Client().get("/readyz")
    with django_assert_num_queries(3):
        Client().get("/readyz")


def test_without_redis_it_is_not_ready_and_says_what_to_do(db: None, settings: Settings) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert "REDIS_URL" in response.json()["checks"]["redis"]


def test_a_missing_migration_is_not_ready(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'audit'")
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert "manage.py migrate" in response.json()["checks"]["migrations"]


def test_metrics_count_actions_by_state_and_ask_how_late_the_sealer_is(
    db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(3):
        text = Client().get("/metrics").content.decode()
    assert 'interlock_actions{state="awaiting_approval"} 0.0' in text
    assert "tenant" not in text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_only_read(path: str) -> None:
    assert Client().post(path).status_code == 405


def test_late_sealing_is_told_and_serves_on(client: Client, db: None) -> None:
    assert client.get("/readyz").json()["sealing"] == "ok"
    record(NewEvent(uuid7(), Subject("deed", uuid7()), "deed.done", "system:setup"))
    text = client.get("/metrics").content.decode()
    assert "interlock_seal_lag_seconds " in text and "interlock_logs_halted 0.0" in text
    Tree.objects.create(tenant=uuid7(), halted="doubt")
    answer = client.get("/readyz")
    assert answer.status_code == 200 and "1 audit logs has stopped" in answer.json()["sealing"]
    assert "interlock_logs_halted 1.0" in client.get("/metrics").content.decode()
