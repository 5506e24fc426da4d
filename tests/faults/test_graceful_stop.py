"""A worker that is told to stop ends soon, ends its lease, and leaves its action for another."""

import socket
import time

import pytest

from actions.models import Action, Checkpoint, Lease
from audit.models import Event
from tests.actions.factory import propose
from tests.support.processes import wait_for, worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_worker_that_is_told_to_stop_hands_a_long_step_over_at_once(
    committed_cast, product_environment, tmp_path, listening
):
    log = tmp_path / "worker.log"
    parameters = {"check": "self", "repeat": 20, "interval_s": 30}
    committed_cast.dev.settings |= {"healthchecks": {"self": {"host": "127.0.0.1", "port": listening}}}
    committed_cast.dev.save()
    action = propose(committed_cast, type="rerun_healthcheck", parameters=parameters)
    with worker(product_environment, log, INTERLOCK_LEASE_S="60") as first:
        wait_for(lambda: Checkpoint.objects.filter(action=action).exists(), 30, "the first intent", log)
        asked = time.monotonic()
        assert first.terminate() == 0
        assert time.monotonic() - asked < 10
    assert not Lease.objects.filter(ended_at=None).exists(), "a stopping worker ends its leases"
    now = Action.objects.get(pk=action.pk)
    assert (now.state, now.lease_id) == ("in_progress", None)
    assert not Event.objects.filter(subject_id=action.pk, verb__in=["step.failed", "lease.lost"]).exists()
