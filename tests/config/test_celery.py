"""A real worker: it keeps its database connection from task to task, and looks for work when it starts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from celery import current_app
from django.db import connection
from redis import Redis

from config.celery import app
from tests.support.processes import Group, wait_for

PATIENCE_S = 80


@pytest.fixture
def worker(product_environment: dict[str, str], redis_client: Redis, tmp_path: Path) -> Iterator[Group]:
    """A worker of the decide queue, in its own process, with the probe tasks."""
    command = [sys.executable, "-m", "celery", "-q", "-A", "config.celery", "worker", "-Q", "decide", "-c", "1"]
    more = ["-P", "prefork", "--without-gossip", "--without-mingle", "-I", "tests.config.probe_tasks"]
    running = Group([*command, *more], product_environment, tmp_path / "worker.log")
    yield running
    running.terminate()


def send(name: str) -> None:
    app.send_task(name, queue="decide")


def test_our_application_is_the_one_that_tasks_are_sent_through() -> None:
    assert current_app._get_current_object() is app
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_ignore_result
    assert not app.conf.task_acks_late


def test_every_task_has_a_queue_of_its_own() -> None:
    assert {name: route["queue"] for name, route in app.conf.task_routes.items()} == {
        "actions.tasks.decide": "decide",
        "actions.tasks.execute": "execute",
        "actions.tasks.sweep": "sweep",
        "actions.tasks.background": "background",
        "actions.tasks.work_incidents": "background",
        "approvals.tasks.notify": "background",
        "audit.tasks.seal": "sweep",
        **{
            f"audit.tasks.{name}": "background"
            for name in ("index", "packs", "reports", "publish_heads", "stream", "verify")
        },
    }


def test_a_connection_is_reused_between_tasks_and_replaced_when_it_broke(worker: Group, redis_client: Redis) -> None:
    for _ in range(5):
        send("tests.which_connection")
    wait_for(lambda: redis_client.llen("tests:connections") == 5, PATIENCE_S, "five tasks", worker.log)
    assert redis_client.lrange("tests:connections", 0, -1) == [b"1"] * 5
    send("tests.break_connection")
    send("tests.which_connection")
    wait_for(lambda: redis_client.llen("tests:connections") == 6, PATIENCE_S, "a task after the break", worker.log)
    assert redis_client.lindex("tests:connections", -1) == (b"2" if connection.vendor == "postgresql" else b"1")


def test_the_pool_dies_with_its_worker(worker: Group, redis_client: Redis) -> None:
    send("tests.which_connection")
    wait_for(lambda: redis_client.llen("tests:connections") == 1, PATIENCE_S, "a task", worker.log)
    (child,) = psutil.Process(worker.process.pid).children()
    worker.process.kill()
    worker.wait_until_dead()
    child.wait(10)


def test_a_worker_asks_for_a_sweep_when_it_starts(worker: Group, redis_client: Redis) -> None:
    wait_for(lambda: redis_client.llen("sweep") == 1, PATIENCE_S, "the request for a sweep", worker.log)
