"""What every test gets: real servers, started once, and settings that point at them before Django loads.

`INTERLOCK_TEST_DB=postgresql|sqlite` chooses the database (default sqlite). `INTERLOCK_TEST_PG_URL` names a PostgreSQL
`INTERLOCK_TEST_DB=postgresql|sqlite` chooses the database (default sqlite). `INTERLOCK_TEST_PG_URL` names a PostgreSQL
it, each with a database of its own; every process has a Valkey of its own, because channels know no databases.
"""

import base64
import os
import secrets

import django
import pytest

from tests import servers

VENDOR = os.environ.get("INTERLOCK_TEST_DB", "sqlite")
BASE = servers.scratch_directory()
APART = {"application_name": "interlock-process"}
"""How PostgreSQL tells the connections of the product's processes from those of the tests themselves."""


def _prepare() -> None:
    if VENDOR not in ("postgresql", "sqlite"):
        raise pytest.UsageError(f"INTERLOCK_TEST_DB is postgresql or sqlite, not {VENDOR!r}")
    if VENDOR == "postgresql":
        url = os.environ.get("INTERLOCK_TEST_PG_URL") or servers.start_postgresql(BASE)
        os.environ["INTERLOCK_TEST_PG_URL"] = os.environ["DATABASE_URL"] = url
    else:
        os.environ["DATABASE_URL"] = f"sqlite:///{BASE}/unused.sqlite3"
    os.environ["REDIS_URL"] = servers.start_valkey(BASE)
    os.environ["INTERLOCK_VAR"] = str(BASE / "var")
    os.environ["INTERLOCK_SECRET_KEY"] = secrets.token_urlsafe(32)
    os.environ["INTERLOCK_KEK"] = base64.b64encode(secrets.token_bytes(32)).decode()
    os.environ["INTERLOCK_STATIC"] = "source"
    os.environ["INTERLOCK_LOG_LEVEL"] = "WARNING"
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    for name in ("CELERY_BROKER_URL", "INTERLOCK_DEBUG", "PORT"):
        os.environ.pop(name, None)


_prepare()
(BASE / "var" / "static").mkdir(parents=True)
django.setup()


def pytest_report_header() -> str:
    return f"database: {VENDOR}"


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Name the test database: a file on SQLite (memory knows no WAL), otherwise one per xdist worker."""
    from django.conf import settings

    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = str(BASE / "test.sqlite3") if VENDOR == "sqlite" else f"interlock_{os.getpid()}_{worker}"
    settings.DATABASES["default"]["TEST"]["NAME"] = name


@pytest.fixture(scope="session", autouse=True)
def _committing_tests_clean_up() -> None:
    from tests import emptying

    emptying.install()


@pytest.fixture(scope="session", autouse=True)
def _nobody_keeps_the_database(django_db_setup, django_db_blocker):
    """End what still holds a connection when the run ends, such as a thread of a server; else it cannot be dropped."""
    from django.db import connection

    yield
    if VENDOR == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture
def redis_client():
    """The run's own Valkey, emptied."""
    import redis

    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def product_environment(transactional_db) -> dict[str, str]:
    """The environment for a process of the product (worker, web, command) that shares this test's database."""
    from django.db import connection

    from config.databases import url_of

    options = connection.settings_dict["OPTIONS"]
    settings = {**connection.settings_dict, "OPTIONS": {**options, **APART} if VENDOR == "postgresql" else options}
    return {**os.environ, "DATABASE_URL": url_of(settings)}


from tests.cast import cast  # noqa: E402, F401  a fixture; its models need the set-up above
from tests.support import rabbitmq  # noqa: E402

ONCE = {
    "tests/actions/test_lifecycle.py": "postgresql",
    "tests/api/test_openapi.py": "postgresql",
    "tests/browser/": "postgresql",
    "tests/config/test_celery.py": "postgresql",
    "tests/faults/test_database_errors.py": "postgresql",
    "tests/faults/test_graceful_stop.py": "postgresql",
    "tests/faults/test_hostile_machine.py": "postgresql",
    "tests/faults/test_killed_in_a_wait.py": "postgresql",
    "tests/faults/test_killed_sealer.py": "postgresql",
    "tests/faults/test_killed_while_deploying.py": "postgresql",
    "tests/faults/test_many_workers.py": "postgresql",
    "tests/faults/test_nudges_doubled.py": "postgresql",
    "tests/faults/test_one_at_a_time.py": "postgresql",
    "tests/faults/test_rabbitmq.py": "postgresql",
    "tests/faults/test_redis_lost.py": "postgresql",
    "tests/faults/test_upgrade.py": "postgresql",
    "tests/faults/test_zombie.py": "postgresql",
    "tests/house/test_auditor_reads.py": "postgresql",
    "tests/house/test_outsider.py": "postgresql",
    "tests/live/": "postgresql",
    "tests/mutations/": "postgresql",
    "tests/races/": "postgresql",
    "tests/recovery/test_breakers.py": "postgresql",
    "tests/rehearsal/test_at_scale.py": "postgresql",
    "tests/rehearsal/test_backtests.py": "postgresql",
    "tests/scheduling/test_nodes.py": "postgresql",
    "tests/stories/test_one_real_change.py": "postgresql",
    "tests/traps/": "postgresql",
    "tests/actions/test_before_state.py": "sqlite",
    "tests/actions/test_watch.py": "sqlite",
    "tests/actions/test_way_back.py": "sqlite",
    "tests/approvals/test_blast": "sqlite",
    "tests/approvals/test_counting.py": "sqlite",
    "tests/approvals/test_judge.py": "sqlite",
    "tests/approvals/test_lowering.py": "sqlite",
    "tests/approvals/test_matrix_table.py": "sqlite",
    "tests/approvals/test_quorum.py": "sqlite",
    "tests/approvals/test_suggest.py": "sqlite",
    "tests/approvals/test_weights.py": "sqlite",
    "tests/audit/seals/test_merkle.py": "sqlite",
    "tests/audit/seals/test_signed_note.py": "sqlite",
    "tests/audit/seals/test_public_page.py": "sqlite",
    "tests/audit/seals/test_verification_page.py": "sqlite",
    "tests/audit/test_attestation.py": "sqlite",
    "tests/audit/test_canonical.py": "sqlite",
    "tests/audit/test_change_document.py": "sqlite",
    "tests/audit/test_highlight.py": "sqlite",
    "tests/audit/test_lines.py": "sqlite",
    "tests/audit/test_log_": "sqlite",
    "tests/audit/test_masking.py": "sqlite",
    "tests/audit/test_pack_corpus.py": "sqlite",
    "tests/audit/test_webhook.py": "sqlite",
    "tests/audit/test_render.py": "sqlite",
    "tests/audit/test_retention_pages.py": "sqlite",
    "tests/audit/test_stream_pages.py": "sqlite",
    "tests/audit/test_typesetting.py": "sqlite",
    "tests/audit/test_verify_pack.py": "sqlite",
    "tests/config/test_checks.py": "sqlite",
    "tests/config/test_edges.py": "sqlite",
    "tests/config/test_env.py": "sqlite",
    "tests/config/test_launch.py": "sqlite",
    "tests/config/test_mail.py": "sqlite",
    "tests/config/test_output.py": "sqlite",
    "tests/config/test_step_metrics.py": "sqlite",
    "tests/faults/test_every_boundary.py": "sqlite",
    "tests/faults/test_hostile_steps.py": "sqlite",
    "tests/faults/test_killed_worker.py": "sqlite",
    "tests/faults/test_web_stops.py": "sqlite",
    "tests/handoff/test_admin.py": "sqlite",
    "tests/handoff/test_api.py": "sqlite",
    "tests/handoff/test_diagnostics.py": "sqlite",
    "tests/handoff/test_webhooks.py": "sqlite",
    "tests/house/test_floors.py": "sqlite",
    "tests/house/test_markup.py": "sqlite",
    "tests/house/test_one_door.py": "sqlite",
    "tests/pages/": "sqlite",
    "tests/policies/test_admin.py": "sqlite",
    "tests/policies/test_bombs.py": "sqlite",
    "tests/policies/test_cel_vectors.py": "sqlite",
    "tests/policies/test_cell.py": "sqlite",
    "tests/recovery/test_other_ways.py": "sqlite",
    "tests/recovery/test_pages.py": "sqlite",
    "tests/recovery/test_retries.py": "sqlite",
    "tests/recovery/test_strategy.py": "sqlite",
    "tests/rehearsal/test_api.py": "sqlite",
    "tests/rehearsal/test_gate.py": "sqlite",
    "tests/reports/": "sqlite",
    "tests/scheduling/test_caps_admin.py": "sqlite",
    "tests/scheduling/test_switch_seen.py": "sqlite",
    "tests/stories/test_other_endings.py": "sqlite",
    "tests/tenants/test_admin": "sqlite",
    "tests/tenants/test_bootstrap.py": "sqlite",
    "tests/tenants/test_hours.py": "sqlite",
    "tests/tenants/test_rotate_keys.py": "sqlite",
    "tests/tenants/test_sign_in.py": "sqlite",
    "tests/tenants/test_token": "sqlite",
    "tests/types/": "sqlite",
}
"""Where what takes long, or knows no database, is tested when a run on the other one follows."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With INTERLOCK_TEST_ONCE, leave to the other database's run what one of them is enough for.

    Leave out the browser's tests where there is none, unless INTERLOCK_REQUIRE_BROWSER lets them fail instead.
    """
    if os.environ.get("INTERLOCK_TEST_ONCE"):
        elsewhere = tuple(part for part, vendor in ONCE.items() if vendor != VENDOR)
        left = [item for item in items if item.nodeid.startswith(elsewhere)]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    chromium = os.environ.get("INTERLOCK_CHROMIUM", "/usr/bin/chromium")
    if os.environ.get("INTERLOCK_REQUIRE_BROWSER") or os.path.exists(chromium):
        return
    left_out = [item for item in items if "tests/browser/" in item.nodeid]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    if left_out and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"{len(left_out)} browser tests are left out: no Chromium at {chromium}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Under xdist nobody sees what the workers print while they collect."""
    if VENDOR == "postgresql" and not rabbitmq.is_installed() and not os.environ.get("INTERLOCK_REQUIRE_RABBITMQ"):
        terminalreporter.write_line(f"the fault tests that need RabbitMQ are left out: none at {rabbitmq.SERVER}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config, specs) -> None:
    """Keep pytest-django from loading the settings in a worker before that worker has prepared its own servers."""
    for spec in specs:
        spec.env = {**getattr(spec, "env", {}), "DJANGO_SETTINGS_MODULE": ""}
