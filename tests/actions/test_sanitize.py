"""What a target or an executor says is never a reason for a worker to fall over."""

import datetime
import math
import socket
import threading

import pytest

from actions.models import Action, JournalEntry
from actions.preflight.plan import sanitize
from actions.types import registry
from actions.types.protocol import Outcome, PlanRefused
from tests.actions.factory import propose
from tests.actions.running import carry
from tests.support.ledger_executor import LedgerExecutor

pytestmark = pytest.mark.dialect

HOSTILE = "\x00 \ud800 \x1b[31m"


@pytest.fixture
def rude_server():
    """Answers every request with NULs and an escape sequence instead of a status line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"\x00\x1b[31m\x00 no status line\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


class Rude(LedgerExecutor):
    """Says what no database can hold, wherever it may say anything."""

    refuses = False

    def plan(self, parameters, target):
        if self.refuses:
            raise PlanRefused(f"no: {HOSTILE}")
        return super().plan(parameters, target)

    def apply(self, ctx):
        ctx.log(HOSTILE)
        return Outcome(False, "rude", HOSTILE, facts={HOSTILE: [math.inf, 2**70, datetime.date(2026, 1, 1), b"\x00"]})


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_that_answers_with_nul_fails_its_own_action_and_no_other(committed_cast, rude_server):
    rude = propose(committed_cast, type="rerun_healthcheck", parameters={"url": rude_server})
    other = propose(committed_cast, type="collect_diagnostics", parameters={"sections": ["disk"]})
    carry(rude)
    assert Action.objects.get(pk=other.pk).state == "completed"
    now = Action.objects.get(pk=rude.pk)
    assert (now.state, now.error["code"]) == ("failed", "unhealthy")
    assert "␀" in now.error["message"] and "\x00" not in str(now.error)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("refuses", [False, True])
def test_an_executor_may_say_anything(committed_cast, refuses):
    rude = Rude()
    rude.refuses = refuses
    with registry.register_executor(rude):
        now = carry(propose(committed_cast, type="ledger", parameters={"steps": 1}, accept=True))
    assert (now.state, now.error["code"]) == ("failed", "plan_refused" if refuses else "rude")
    assert "\\ud800" in now.error["message"]
    assert all("\x00" not in line.log for line in JournalEntry.objects.filter(action=now))


def test_what_can_be_stored_stays_as_it_is():
    plain = {"a": [1, 0.5, None, True, "ü\n"], "b": {"c": []}}
    assert sanitize(plain) == plain
    assert sanitize(("x",)) == ["x"]


def test_endless_nesting_ends_as_text():
    deep: list = []
    for _ in range(500):
        deep = [deep]
    assert "[[" in str(sanitize(deep))
