"""PostgreSQL is restarted, once in order and once after a crash, while actions run and others are submitted."""

import signal
import time
from collections.abc import Iterator

import pytest

from actions.models import Action
from tests.actions.factory import root_of, with_rules
from tests.cast import Cast, make_cast
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.support.http import Answer, Program
from tests.support.ledger_executor import read_ledger
from tests.support.own_postgresql import PostgreSQL, moved_to
from tests.support.processes import WITH_LEDGER, free_port, wait_for, web, worker

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]
AWAY_S = 1.5


@pytest.fixture
def server(transactional_db: None) -> Iterator[PostgreSQL]:
    with PostgreSQL() as running, moved_to(running):
        yield running


@pytest.fixture
def own_cast(server: PostgreSQL, tmp_path) -> Cast:
    return make_cast(with_rules)


def test_actions_end_once_although_postgresql_is_restarted_twice(
    own_cast, server, product_environment, redis_client, ledger_type, tmp_path
):
    environment = {**product_environment, "DATABASE_URL": server.url, "INTERLOCK_LOG_LEVEL": "INFO"}
    logs, ledger = [tmp_path / "first.log", tmp_path / "second.log"], root_of(own_cast.dev) / ".ledger"
    token, refused = own_cast.token("operator"), []
    actions = ledger_actions(own_cast, 20, sleep_ms=300)
    with (
        web(environment, tmp_path / "web.log", free_port()) as base,
        worker(environment, logs[0], WITH_LEDGER),
        worker(environment, logs[1], WITH_LEDGER),
    ):
        operator = Program(base, token)
        for how in (signal.SIGINT, signal.SIGQUIT):
            seen = len(read_ledger(ledger))
            wait_for(lambda seen=seen: len(read_ledger(ledger)) > seen + 5, 30, "some effects", logs[0])
            server.stop(how)
            refused += [operator.post("/api/actions", {}), operator.get(f"/api/actions/{actions[0].pk}")]
            refused += [operator.get("/readyz")]
            time.sleep(AWAY_S)
            server.start()
        wait_until_completed(actions, 40, logs[0])
        assert operator.get(f"/api/actions/{actions[0].pk}").json["state"] == "completed"
    assert_each_effect_once(actions, ledger)
    assert_sound(actions)
    assert Action.objects.count() == len(actions)

    for answer in refused:
        assert_says_what_is_missing(answer)


def assert_says_what_is_missing(answer: Answer) -> None:
    assert answer.status == 503
    assert b"database" in answer.body
