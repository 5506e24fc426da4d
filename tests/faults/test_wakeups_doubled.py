"""Every message is delivered twice, late and out of order: the same outcome, and the same events, as without."""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis as redis_library

from actions.engine.runner import Runner
from actions.models import Action, JournalEntry
from audit.models import Event
from tests.actions.factory import root_of
from tests.cast import Cast
from tests.faults.invariants import all_ended, assert_sound, ledger_actions, states_of
from tests.support.ledger_executor import balance, doubles
from tests.support.processes import WITH_LEDGER, wait_for, worker

pytestmark = pytest.mark.slow

QUEUES = ("decide", "execute", "sweep")
LATEST_S = 0.4
STEPS = 5


def heard(queue: str) -> str:
    return f"{queue}.heard"


class Tap:
    """Takes every message out of the queue that it was sent to, by whomever, and puts it twice, at random moments, into
    the one that the worker hears. What is sent earlier may well arrive later."""

    def __init__(self, url: str, seed: int) -> None:
        self.redis = redis_library.Redis.from_url(url)
        self.chance, self.taken, self.given = random.Random(seed), 0, 0
        self.due: list[tuple[float, str, bytes]] = []
        self.arrivals: list[int] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            self._take()
            self._give()
            time.sleep(0.005)
        self.redis.close()

    def _take(self) -> None:
        for queue in QUEUES:
            while (message := self.redis.rpop(queue)) is not None:
                for _ in range(2):
                    moment = time.monotonic() + self.chance.uniform(0, LATEST_S)
                    self.due.append((moment, queue, self._numbered(message)))
                self.taken += 1

    def _numbered(self, message: bytes) -> bytes:
        """Each delivery with a tag of its own, as a broker gives it; the rest is the same message."""
        body = json.loads(message)
        body["headers"]["tap"] = self.taken
        body["properties"]["delivery_tag"] = f"{self.taken}-{self.chance.random()}"
        return json.dumps(body).encode()

    def _give(self) -> None:
        ready = sorted(entry for entry in self.due if entry[0] <= time.monotonic())
        self.due = [entry for entry in self.due if entry not in ready]
        for _, queue, message in ready:
            self.arrivals.append(json.loads(message)["headers"]["tap"])
            self.redis.lpush(heard(queue), message)
            self.given += 1


@contextmanager
def tapped(url: str) -> Iterator[Tap]:
    tap = Tap(url, seed=4)
    thread = threading.Thread(target=tap.run, daemon=True)
    thread.start()
    try:
        yield tap
    finally:
        tap.stop.set()
        thread.join(5)


def a_day(cast: Cast) -> list[Action]:
    """The same work each time: some complete, some are undone."""
    done = ledger_actions(cast, 4, steps=STEPS, sleep_ms=30)
    undone = ledger_actions(cast, 2, steps=STEPS, fail_at=STEPS) + ledger_actions(
        cast, 2, steps=STEPS, fail_verify=True
    )
    return done + undone


def carry_here() -> None:
    """Carry all that waits in this very process, without a message."""
    runners = [Runner("decide"), Runner("execute")]
    while sum(runner.drain() for runner in runners):
        pass
    for runner in runners:
        runner.stop()


def story(actions: list[Action]) -> list[list[tuple[str, str]]]:
    """What the events of each action tell, in order; ids and times left out."""
    return [list(Event.objects.filter(subject_id=a.pk).order_by("seq").values_list("verb", "outcome")) for a in actions]


def test_doubled_and_reordered_nudges_change_neither_the_outcome_nor_an_event(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    ledger, logs = root_of(committed_cast.dev) / ".ledger", [tmp_path / "first.log", tmp_path / "second.log"]
    plain, again, hears = a_day(committed_cast), [], ",".join(map(heard, QUEUES))
    carry_here()
    redis_client.flushall()
    with (
        worker(product_environment, logs[0], WITH_LEDGER, hears),
        worker(product_environment, logs[1], WITH_LEDGER, hears),
        tapped(product_environment["REDIS_URL"]) as tap,
    ):
        wait_for(lambda: tap.given > 2, 40, "the first deliveries", logs[0])
        for _ in range(2):  # in two bursts, so that nudges of the second meet late ones of the first
            again.append(a_day(committed_cast))
            time.sleep(LATEST_S)
        wait_for(all_ended([*again[0], *again[1]]), 40, "the end behind the tap", logs[0])
    assert tap.given == 2 * tap.taken - len(tap.due)
    assert tap.arrivals != sorted(tap.arrivals), "nothing was out of order"
    everything = [*plain, *again[0], *again[1]]
    assert states_of(everything) == {"completed": 12, "rolled_back": 12}
    assert story(again[0]) == story(again[1]) == story(plain)
    assert (doubles(ledger), sum(balance(ledger).values())) == ([], 12 * STEPS)
    lines = JournalEntry.objects.values("action", "step", "kind")
    assert lines.count() == lines.distinct().count(), "every line of the step ledger is there once"
    assert_sound(everything)
