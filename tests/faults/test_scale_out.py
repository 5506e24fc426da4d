"""Two web processes and three workers on PostgreSQL, as docs/scaling.md has it; a worker is killed, a web stopped."""

from collections import Counter
from contextlib import ExitStack

import psutil
import pytest
from django.db import connection

from actions.models import Action
from tests.actions.factory import root_of
from tests.api.conftest import a_change
from tests.faults.invariants import assert_sound, wait_until_completed
from tests.support.http import Program
from tests.support.processes import ALL_QUEUES, Group, free_port, server, wait_for, worker
from tests.support.rabbitmq import RabbitMQ
from tests.support.watcher import Watcher

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]
ACTIONS = 40
SMALL = {"INTERLOCK_BATCH_SIZE": "5", "INTERLOCK_EFFECT_THREADS": "2"}


def test_with_redis_nothing_is_lost_or_done_twice(committed_cast, product_environment, redis_client, tmp_path):
    carry_through(committed_cast, product_environment, tmp_path)


@pytest.mark.rabbitmq
def test_with_rabbitmq_nothing_is_lost_or_done_twice(committed_cast, product_environment, redis_client, tmp_path):
    with RabbitMQ() as broker:
        carry_through(committed_cast, {**product_environment, "CELERY_BROKER_URL": broker.url}, tmp_path)


def carry_through(cast, environment, directory) -> None:
    names = [f"file-{n:02}.txt" for n in range(ACTIONS)]
    token, root, ports = cast.token("operator"), root_of(cast.dev), [free_port(), free_port()]
    log = directory / "execute1.log"
    with ExitStack() as stack:
        seen = stack.enter_context(Watcher(root))
        webs = [stack.enter_context(server(environment, directory / f"web{port}.log", port)) for port in ports]
        decide = stack.enter_context(worker(environment, directory / "decide.log", queues="decide,sweep", **SMALL))
        first = stack.enter_context(worker(environment, log, queues="execute", **SMALL))
        second = stack.enter_context(worker(environment, directory / "execute2.log", queues=ALL_QUEUES, **SMALL))
        programs = [Program(f"http://127.0.0.1:{port}", token) for port in ports]
        for n, name in enumerate(names[: ACTIONS // 2]):
            assert programs[n % 2].post("/api/actions", a_change("dev", path=name, accept=True)).status == 201
        wait_for(lambda: len(list(root.glob("file-*"))) > 5, 30, "some effects", log)
        first.kill()
        webs[0].process.terminate()
        for name in names[ACTIONS // 2 :]:
            assert programs[1].post("/api/actions", a_change("dev", path=name, accept=True)).status == 201
        wait_until_completed(list(Action.objects.all()), 60, directory / "execute2.log")
        print(f"\n{connections()} connections; MiB: {memory(web=webs[1], decide=decide, execute=second)}")
        assert webs[0].process.wait(15) == 0
    assert Action.objects.count() == ACTIONS
    assert {name: seen.renamed[name] + seen.created[name] for name in names} == dict.fromkeys(names, 1)
    assert_sound(list(Action.objects.all()))


def connections() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
        return dict(Counter(name for (name,) in cursor.fetchall()))


def memory(**groups: Group) -> dict[str, int]:
    """What each process and its children hold, in MiB: shared pages counted once per process."""
    found = {}
    for name, group in groups.items():
        process = psutil.Process(group.process.pid)
        found[name] = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) // 2**20
    return found
