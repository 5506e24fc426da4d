"""Steps that say too much, do not listen, or wait for somebody who never answers: the worker stays well."""

import socket
import threading
import time

import psutil
import pytest

from actions.models import Action, JournalEntry
from actions.run.transcript import MAX_LINE_CHARACTERS, MAX_LOG_LINES
from audit.models import Artifact, Event
from tests.actions.factory import edit, propose, root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.support.ledger_executor import read_ledger
from tests.support.processes import WITH_LEDGER, Worker, wait_for, worker

MB = 1024 * 1024


class Memory:
    """The most that the processes of a worker held together beyond what they held at first, looked at all the time."""

    def __init__(self, watched: Worker) -> None:
        self.watched, self.stop = psutil.Process(watched.process.pid), threading.Event()
        self.first = self.most = self.now()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def now(self) -> int:
        return sum(p.memory_info().rss for p in [self.watched, *self.watched.children(recursive=True)])

    def watch(self) -> None:
        while not self.stop.wait(0.02):
            self.most = max(self.most, self.now())

    def __enter__(self) -> "Memory":
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        self.thread.join(5)


@pytest.mark.slow
def test_a_hundred_megabytes_of_log_are_cut_and_cost_the_worker_no_memory(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    log = tmp_path / "worker.log"
    with worker(product_environment, log, WITH_LEDGER) as only:
        wait_until_completed(ledger_actions(committed_cast, 1), 30, log)
        with Memory(only) as memory:
            loud = ledger_actions(committed_cast, 1, steps=2, log_mb=50)
            wait_until_completed(loud, 30, log)
        assert only.process.poll() is None
    assert memory.most - memory.first < 60 * MB
    for receipt in JournalEntry.objects.filter(action=loud[0], kind="receipt"):
        lines = receipt.log.splitlines()
        assert (len(lines), lines[-1]) == (MAX_LOG_LINES + 1, "… what came after the first 2,000 lines is left out.")
        assert len(receipt.log) <= (MAX_LOG_LINES + 1) * (MAX_LINE_CHARACTERS + 1)
    kept = set(Artifact.objects.filter(tenant=loud[0].tenant_id).values_list("digest", "size"))
    assert sum(size for _, size in kept) < 2 * 5 * MB
    assert_sound(loud)


@pytest.mark.slow
def test_a_step_that_does_not_hear_of_the_stop_neither_keeps_its_worker_nor_happens_twice(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    ledger = root_of(committed_cast.dev) / ".ledger"
    with worker(product_environment, first, WITH_LEDGER) as leaving:
        (action,) = ledger_actions(committed_cast, 1, deaf_s=300)
        wait_for(lambda: any(ledger.parent.glob(".ledger.deaf-*")), 30, "the deaf step", first)
        asked = time.monotonic()
        assert leaving.terminate() == 0
        assert time.monotonic() - asked < 15
    assert read_ledger(ledger) == []
    with worker(product_environment, second, WITH_LEDGER):
        wait_until_completed([action], 30, second)
    assert_each_effect_once([action], ledger)
    assert_sound([action])
    assert Event.objects.filter(subject_id=action.pk, verb="lease.lost").count() == 1
    assert not Event.objects.filter(subject_id=action.pk, verb__in=["step.failed", "action.hold"]).exists()


@pytest.fixture
def silent_port():
    """A service that accepts every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


def test_a_service_that_never_answers_costs_its_own_time_and_nobody_elses(
    committed_cast, product_environment, redis_client, tmp_path, silent_port
):
    log, dev = tmp_path / "worker.log", committed_cast.dev
    probe = {"url": f"http://127.0.0.1:{silent_port}/", "timeout_s": 2}
    dev.settings |= {"healthchecks": {"silent": probe}}
    dev.save()
    with worker(product_environment, log) as only:
        asked = propose(committed_cast, type="rerun_healthcheck", parameters={"check": "silent", "repeat": 1})
        wait_for(lambda: JournalEntry.objects.filter(action=asked).exists(), 30, "its first intent", log)
        began = time.monotonic()
        quick = propose(committed_cast, parameters=edit("quick.txt", operation="create"), accept=True)
        wait_for(lambda: Action.objects.get(pk=quick.pk).state == "completed", 10, "the other action's end", log)
        wait_for(lambda: Action.objects.get(pk=asked.pk).state == "failed", 10, "the end of the silence", log)
        assert time.monotonic() - began < 10
        assert only.process.poll() is None
    now = Action.objects.get(pk=asked.pk)
    assert "no answer within 2 s" in str(now.error), now.error
    assert_sound([asked, quick])
