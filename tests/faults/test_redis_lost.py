"""Redis dies with everything in it, and comes back empty: nothing that was accepted is lost, and web stays up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.models import Action
from tests.actions.factory import root_of
from tests.api.conftest import a_change
from tests.faults.invariants import assert_sound, states_of, wait_until_completed
from tests.support.http import Program
from tests.support.processes import free_port, wait_for, web, worker
from tests.support.valkey import Valkey
from tests.support.watcher import Watcher

pytestmark = pytest.mark.slow

BEFORE, DURING = 20, 10


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis of this test's own, because the test kills it."""
    with Valkey() as running:
        yield running


def test_what_was_queued_or_submitted_without_redis_is_done_when_it_is_back(
    committed_cast, product_environment, redis, tmp_path
):
    environment = {**product_environment, "REDIS_URL": redis.url}
    token, root, log = committed_cast.token("operator"), root_of(committed_cast.dev), tmp_path / "worker.log"
    names = [f"file-{n:02}.txt" for n in range(BEFORE + DURING)]
    with (
        Watcher(root) as seen,
        web(environment, tmp_path / "web.log", free_port()) as base,
    ):
        operator = Program(base, token)
        for name in names[:BEFORE]:
            assert operator.post("/api/actions", a_change("dev", path=name, accept=True)).status == 201
        redis.kill()
        for name in names[BEFORE:]:  # committed, and no nudge can be sent: as if web had been killed in between
            assert operator.post("/api/actions", a_change("dev", path=name, accept=True)).status == 201
        actions = list(Action.objects.all())
        assert states_of(actions) == {"queued": BEFORE + DURING}
        assert len(operator.get("/api/actions?limit=50").json["items"]) == len(names)
        told = next(operator.stream(f"/api/actions/{actions[-1].pk}/events"))
        assert (told.id, '"action.submitted"' in told.data) == ("1", True), "a stream needs no Redis to tell"
        redis.start()
        assert redis.is_empty()
        with worker(environment, log):
            wait_until_completed(actions, 40, log)
    assert sorted(p.name for p in root.iterdir()) == names
    assert {name: seen.renamed[name] + seen.created[name] for name in names} == dict.fromkeys(names, 1)
    assert_sound(actions)


def test_a_worker_gets_over_the_loss_of_redis_in_the_middle_of_its_work(
    committed_cast, product_environment, redis, tmp_path
):
    environment = {**product_environment, "REDIS_URL": redis.url}
    token, root, log = committed_cast.token("operator"), root_of(committed_cast.dev), tmp_path / "worker.log"
    with web(environment, tmp_path / "web.log", free_port()) as base, worker(environment, log):
        operator = Program(base, token)
        assert operator.post("/api/actions", a_change("dev", path="first.txt", accept=True)).status == 201
        wait_for(lambda: (root / "first.txt").exists(), 30, "the first effect", log)
        redis.kill()
        for name in ("second.txt", "third.txt"):
            assert operator.post("/api/actions", a_change("dev", path=name, accept=True)).status == 201
        redis.start()
        actions = list(Action.objects.all())
        wait_until_completed(actions, 40, log)
    assert sorted(p.name for p in root.iterdir()) == ["first.txt", "second.txt", "third.txt"]
    assert_sound(actions)
