"""RabbitMQ carries the nudges: quorum queues, acknowledged late; it restarts in the middle of the work."""

from collections.abc import Iterator

import pytest

from actions.models import Action
from tests.actions.factory import root_of
from tests.api.conftest import a_change
from tests.cast import Cast
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.support.http import Browser, Program
from tests.support.processes import WITH_LEDGER, free_port, wait_for, web, worker
from tests.support.rabbitmq import RabbitMQ
from tests.support.watcher import Watcher

pytestmark = [pytest.mark.postgresql, pytest.mark.rabbitmq, pytest.mark.slow]
TOGETHER = 8


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMQ]:
    with RabbitMQ() as running:
        yield running


def test_actions_end_although_rabbitmq_restarts_in_the_middle(
    committed_cast, product_environment, rabbitmq, redis_client, tmp_path
):
    environment = {**product_environment, "CELERY_BROKER_URL": rabbitmq.url}
    token, root = committed_cast.token("operator"), root_of(committed_cast.dev)
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    names = [f"file-{n:02}.txt" for n in range(3 * TOGETHER)]
    with (
        Watcher(root) as seen,
        web(environment, tmp_path / "web.log", free_port()) as base,
        worker(environment, logs[0]),
        worker(environment, logs[1]),
    ):
        operator = Program(base, token)

        def submit(part: int) -> None:
            for name in names[part * TOGETHER : (part + 1) * TOGETHER]:
                assert operator.post("/api/actions", a_change("dev", path=name, accept=True)).status == 201

        submit(0)
        wait_for(lambda: len(list(root.iterdir())) == TOGETHER, 30, "the first effects", logs[0])
        kinds = rabbitmq.queues()
        assert {kinds[name] for name in ("decide", "execute", "sweep")} == {"quorum"}
        rabbitmq.stop()
        submit(1)  # accepted, and no nudge leaves
        page = operator_at(base, committed_cast).get("/system/").text
        assert "Message broker" in page, "the page says what it waits for"
        rabbitmq.start()
        submit(2)
        wait_until_completed(list(Action.objects.all()), 40, logs[0])
    assert sorted(p.name for p in root.iterdir()) == names
    assert {name: seen.renamed[name] + seen.created[name] for name in names} == dict.fromkeys(names, 1)
    assert_sound(list(Action.objects.all()))


def operator_at(base: str, cast: Cast) -> Browser:
    cast.operator.set_password("a-good-long-password")
    cast.operator.save()
    browser = Browser(base)
    browser.sign_in("operator", "a-good-long-password")
    return browser


def test_a_step_that_outlasts_rabbitmqs_patience_with_its_consumers_ends_once(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    """RabbitMQ closes the channel of a worker that does not acknowledge in time: half an hour, unless set otherwise."""
    log = tmp_path / "worker.log"
    with RabbitMQ(consumer_timeout=2000, channel_tick_interval=1000) as impatient:
        environment = {**product_environment, "CELERY_BROKER_URL": impatient.url}
        with worker(environment, log, WITH_LEDGER) as only:
            actions = ledger_actions(committed_cast, 2, steps=1, sleep_ms=5000)
            wait_until_completed(actions, 60, log)
            assert only.process.poll() is None, "the worker gave up"
            actions += ledger_actions(committed_cast, 1, steps=1)
            wait_until_completed(actions, 30, log)
        assert b"PRECONDITION_FAILED" in log.read_bytes(), "nothing was too long for RabbitMQ"
    assert_each_effect_once(actions, root_of(committed_cast.dev) / ".ledger")
    assert_sound(actions)
