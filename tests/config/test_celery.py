"""A real worker: it keeps its database connection from task to task, and looks for work when it starts."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from celery import current_app
from django.conf import settings
from django.db import connection
from redis import Redis

from config.celery import app


@pytest.fixture
def worker(product_environment: dict[str, str], redis_client: Redis) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the decide queue, in its own process, with the probe tasks."""
    command = [sys.executable, "-m", "celery", "-q", "-A", "config.celery", "worker", "-Q", "decide", "-c", "1"]
    more = ["-P", "prefork", "--without-gossip", "--without-mingle", "-I", "tests.config.probe_tasks"]
    running = subprocess.Popen([*command, *more], env=product_environment, cwd=settings.BASE_DIR)
    yield running
    running.terminate()
    running.wait(30)


def eventually(told: Callable[[], bool], patience_s: float = 80) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if told():
            return True
        time.sleep(0.05)
    return False


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
        **{f"audit.tasks.{name}": "background" for name in ("index", "packs", "reports", "ship", "stream", "verify")},
    }


def test_a_connection_is_reused_between_tasks_and_replaced_when_it_broke(
    worker: subprocess.Popen[bytes], redis_client: Redis
) -> None:
    for _ in range(5):
        send("tests.which_connection")
    assert eventually(lambda: redis_client.llen("tests:connections") == 5), f"worker: {worker.poll()}"
    assert redis_client.lrange("tests:connections", 0, -1) == [b"1"] * 5
    send("tests.break_connection")
    send("tests.which_connection")
    assert eventually(lambda: redis_client.llen("tests:connections") == 6), "the worker did not get over it"
    assert redis_client.lindex("tests:connections", -1) == (b"2" if connection.vendor == "postgresql" else b"1")


def test_the_pool_dies_with_its_worker(worker: subprocess.Popen[bytes], redis_client: Redis) -> None:
    send("tests.which_connection")
    assert eventually(lambda: redis_client.llen("tests:connections") == 1), f"worker: {worker.poll()}"
    (child,) = psutil.Process(worker.pid).children()
    worker.kill()
    child.wait(10)


def test_a_worker_asks_for_a_sweep_when_it_starts(worker: subprocess.Popen[bytes], redis_client: Redis) -> None:
    assert eventually(lambda: redis_client.llen("sweep") == 1), "no sweep was sent"
