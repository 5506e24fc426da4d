"""Liveness, readiness and metrics. None of them needs a principal; none of them tells anything about a tenant."""

from collections.abc import Iterator
from typing import Any

import redis
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from actions.states import LIVE
from config.closing import closing
from config.step_metrics import StepTallies


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers. Says nothing about what it depends on: restarting it would not help those."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether requests can be served: database, migrations, Redis. 503 names what is missing."""
    checks = {"database": check_database(), "redis": check_redis()}
    if closing.is_set():
        checks["server"] = "This server is being stopped."
    if checks["database"] == "ok":
        checks["migrations"] = check_migrations()
    is_ready = all(result == "ok" for result in checks.values())
    return JsonResponse({"ready": is_ready, "checks": checks}, status=200 if is_ready else 503)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def check_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "The database does not answer: check DATABASE_URL and that it runs."
    return "ok"


def check_redis() -> str:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
    except (redis.RedisError, OSError):
        return "Redis does not answer: check REDIS_URL and that it runs."
    finally:
        client.close()
    return "ok"


def check_migrations() -> str:
    """Once everything was applied, it stays so for this process: asking again would cost ten queries a probe."""
    if not _Migrations.are_applied:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        _Migrations.are_applied = not plan
        if plan:
            return f"{len(plan)} migrations are not applied: run `python manage.py migrate`."
    return "ok"


class _Migrations:
    are_applied = False


class QueueDepth:
    """How many actions wait or run, by state: one grouped count over the partial index of live states."""

    def collect(self) -> Iterator[Any]:
        gauge = GaugeMetricFamily("interlock_actions", "Actions in each live state", labels=["state"])
        for state, count in self.counts().items():
            gauge.add_metric([state], count)
        yield gauge

    def describe(self) -> list[Any]:
        return []  # registering must not ask the database

    def counts(self) -> dict[str, int]:
        table = connection.ops.quote_name(apps.get_model("actions", "Action")._meta.db_table)
        marks = ", ".join(["%s"] * len(LIVE))
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT state, count(*) FROM {table} WHERE state IN ({marks}) GROUP BY state", LIVE)
                found = dict(cursor.fetchall())
        except DatabaseError:
            return {}  # the process's own metrics are worth having while the database is away
        return {state: found.get(state, 0) for state in LIVE}


REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)
REGISTRY.register(QueueDepth())
REGISTRY.register(StepTallies())
