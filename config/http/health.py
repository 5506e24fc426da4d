"""Liveness, readiness and metrics. They need no principal and reveal nothing about a tenant."""

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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from redis import RedisError

from actions.engine.prometheus_counters import BOUNDS_S, INF, read_counters
from actions.models.states import LIVE
from audit.verification.status import MAX_DELAY_S, count_halted_logs, sealing_delays
from config.http.graceful_shutdown import is_stopping

BUCKETS = [*map(str, BOUNDS_S), INF]


class StepMetrics:
    """A histogram of step durations and counters of resource usage, by type and over all tenants."""

    def describe(self) -> list[Any]:
        return []  # registering must not ask Redis

    def collect(self) -> Iterator[Any]:
        try:
            found = read_counters()
        except (RedisError, OSError):
            return  # the process's own metrics are useful while Redis is down
        yield duration_histogram(found["took"], found["sum"])
        cpu = CounterMetricFamily("interlock_step_cpu_seconds", "Processor time of steps", labels=["type"])
        moved = CounterMetricFamily(
            "interlock_step_bytes", "Bytes that steps read and wrote", labels=["type", "direction"]
        )
        for (type_name, what, _), value in sorted(found["used"].items()):
            if what == "cpu":
                cpu.add_metric([type_name], value)
            else:
                moved.add_metric([type_name, what], value)
        yield cpu
        yield moved


def duration_histogram(
    took: dict[tuple[str, str, str], float], sums: dict[tuple[str, str, str], float]
) -> HistogramMetricFamily:
    """The histogram: how many attempts took up to each bound, cumulative as Prometheus wants it."""
    family = HistogramMetricFamily(
        "interlock_step_duration_seconds", "Duration of step attempts, by outcome", labels=["type", "end"]
    )
    for type_name, end in sorted({(name, end) for name, end, _ in took}):
        running, buckets = 0.0, []
        for bound in BUCKETS:
            running += took.get((type_name, end, bound), 0)
            buckets.append((bound, running))
        family.add_metric([type_name, end], buckets, sums.get((type_name, end, "s"), 0.0))
    return family


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers. Dependencies are not checked: a restart would not help them."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether requests can be served: database, migrations, Redis. 503 names what is missing."""
    checks = {"database": check_database(), "redis": check_redis()}
    if is_stopping.is_set():
        checks["server"] = "This server is stopping."
    if checks["database"] == "ok":
        checks["migrations"] = check_migrations()
    is_ready = all(result == "ok" for result in checks.values())
    found = {"ready": is_ready, "checks": checks}
    if is_ready:
        found["sealing"] = check_sealing()  # for monitoring: requests are served regardless
    return JsonResponse(found, status=200 if is_ready else 503)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def check_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "The database does not answer: check DATABASE_URL and that it is running."
    return "ok"


def check_sealing() -> str:
    """Whether the audit logs are sealed in time; names no tenant."""
    late, halted = max(sealing_delays().values(), default=0.0), count_halted_logs()
    if halted:
        return f"Sealing of {halted} audit logs has stopped: run `python manage.py verify_audit`."
    if late > MAX_DELAY_S:
        return (
            f"The audit log is signed {late:.0f} s late: check that beat and a worker of the queue `sweep` are running."
        )
    return "ok"


def check_redis() -> str:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
    except (redis.RedisError, OSError):
        return "Redis does not answer: check REDIS_URL and that it is running."
    finally:
        client.close()
    return "ok"


def check_migrations() -> str:
    """Checked until everything is applied, then remembered: each check costs ten queries."""
    if not _Migrations.are_applied:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        _Migrations.are_applied = not plan
        if plan:
            return f"{len(plan)} migrations are not applied: run `python manage.py migrate`."
    return "ok"


class _Migrations:
    are_applied = False


class Sealing:
    """Seal delay over all tenants, and how many logs are halted."""

    def collect(self) -> Iterator[Any]:
        try:
            late, halted = max(sealing_delays().values(), default=0.0), count_halted_logs()
        except DatabaseError:
            return
        yield GaugeMetricFamily("interlock_seal_lag_seconds", "Age of the oldest unsealed event", value=late)
        yield GaugeMetricFamily("interlock_logs_halted", "Audit logs whose sealing has stopped", value=halted)

    def describe(self) -> list[Any]:
        return []


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
REGISTRY.register(Sealing())
REGISTRY.register(StepMetrics())
