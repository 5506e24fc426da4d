"""A nudge that is lost costs a sweep's interval; none may be lost in the ordinary course of draining."""

import pytest

from actions import tasks
from actions.controls.worker_queues import clear_flag, is_woken
from actions.tasks import get_runner, release_all
from tests.actions.factory import propose


@pytest.fixture
def quiet_redis(redis_client):
    yield redis_client
    release_all()


def changes(path):
    return {"changes": [{"path": path, "operation": "create", "content": "x\n"}]}


def test_a_drain_that_found_late_work_leaves_no_flag_that_would_swallow_the_next_nudge(
    committed_cast, quiet_redis, monkeypatch
):
    propose(committed_cast, parameters=changes("first.txt"))
    late = iter(["late.txt"])

    def settle_after_a_late_one(queue):
        for path in late:
            propose(committed_cast, parameters=changes(path))  # its nudge finds the flag, and sends nothing
        clear_flag(queue)

    monkeypatch.setattr(tasks, "clear_flag", settle_after_a_late_one)
    tasks.drain("decide")
    assert get_runner("decide").drain() == 0, "the late one was carried by the same drain"
    assert not is_woken("decide"), "the next submission's nudge would only leave a mark that nobody reads"
