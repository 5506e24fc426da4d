"""What every test gets: real servers, started once, and settings that point at them before Django loads.

`INTERLOCK_TEST_DB=postgresql|sqlite` chooses the database (default sqlite). `INTERLOCK_TEST_PG_URL` names a PostgreSQL
server that runs already; otherwise the first process of a run starts one. Parallel processes share it, each with a
database of its own; every process has a Valkey of its own, because channels know no databases.
"""

import base64
import os
import secrets
from typing import Any

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

    from config.services.service_urls import url_of

    options = connection.settings_dict["OPTIONS"]
    settings = {**connection.settings_dict, "OPTIONS": {**options, **APART} if VENDOR == "postgresql" else options}
    return {**os.environ, "DATABASE_URL": url_of(settings)}


from tests.cast import cast  # noqa: E402, F401  a fixture; its models need the set-up above
from tests.support import machine, rabbitmq  # noqa: E402


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this database or this machine cannot run. The summary names each reason and how many it left out.

    `INTERLOCK_REQUIRE_BROWSER` and `INTERLOCK_REQUIRE_RABBITMQ` let those tests fail where there is none.
    """
    for marker, reason in missing().items():
        left_out = [item for item in items if marker in markers_of(item)]
        items[:] = [item for item in items if item not in left_out]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            LEFT_OUT.append(f"{len(left_out)} tests marked {marker} are left out: {reason}")


LEFT_OUT: list[str] = []


def missing() -> dict[str, str]:
    """The markers of what cannot run here, with the reason."""
    found = {}
    found["sqlite" if VENDOR == "postgresql" else "postgresql"] = f"the database is {VENDOR}"
    chromium = os.environ.get("INTERLOCK_CHROMIUM", "/usr/bin/chromium")
    if not os.path.exists(chromium) and not os.environ.get("INTERLOCK_REQUIRE_BROWSER"):
        found["browser"] = f"no Chromium at {chromium}"
    if not rabbitmq.is_installed() and not os.environ.get("INTERLOCK_REQUIRE_RABBITMQ"):
        found["rabbitmq"] = f"no RabbitMQ at {rabbitmq.SERVER}"
    if not machine.may_mount():
        found["mount"] = "no file system can be mounted here"
    if not machine.may_compile():
        found["compiler"] = "no C compiler"
    return found


def markers_of(item: pytest.Item) -> set[str]:
    return {marker.name for marker in item.iter_markers()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in LEFT_OUT or terminalreporter.config.stash.get(REPORTED, []):
        terminalreporter.write_line(line)


REPORTED = pytest.StashKey[list[str]]()


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under xdist only the workers collect: they tell the main process what they left out."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = LEFT_OUT


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    node.config.stash[REPORTED] = getattr(node, "workeroutput", {}).get("left_out", [])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config, specs) -> None:
    """Keep pytest-django from loading the settings in a worker before that worker has prepared its own servers."""
    for spec in specs:
        spec.env = {**getattr(spec, "env", {}), "DJANGO_SETTINGS_MODULE": ""}
