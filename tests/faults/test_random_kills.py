"""`make soak`: workers are killed at random, two hundred times, while work goes on; nothing may come of it.

`INTERLOCK_SOAK_KILLS` and `INTERLOCK_SOAK_S` say how many kills, and how long to go on at most.
"""

import os
import random
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from actions.models import Action, JournalEntry, Lease
from actions.models.states import ENDED
from audit.models import Event
from tests.actions.factory import root_of
from tests.cast import Cast
from tests.faults.invariants import all_ended, assert_sound, ledger_actions, states_of
from tests.support.ledger_executor import balance, doubles, read_ledger
from tests.support.processes import WITH_LEDGER, Worker, wait_for, worker

KILLS = int(os.environ.get("INTERLOCK_SOAK_KILLS", "200"))
MOST_S = float(os.environ.get("INTERLOCK_SOAK_S", "1800"))
WORKERS, UNDER_WAY, STEPS = 3, 24, 5
KINDS = {"completed": {}, "rolled_back": {"fail_at": STEPS}, "undone": {"fail_verify": True}}

pytestmark = pytest.mark.soak


class Crowd:
    """Three workers, always; the dead are replaced at once."""

    def __init__(self, environment: dict[str, str], directory: Path, stack: ExitStack) -> None:
        self.environment, self.directory, self.stack = environment, directory, stack
        self.workers: list[Worker] = []
        self.started = 0
        while len(self.workers) < WORKERS:
            self.start()

    def start(self) -> None:
        self.started += 1
        log = self.directory / f"w{self.started}.log"
        small = {"INTERLOCK_BATCH_SIZE": "6", "INTERLOCK_EFFECT_THREADS": "4"}
        self.workers.append(self.stack.enter_context(worker(self.environment, log, WITH_LEDGER, **small)))

    def lose(self, chance: random.Random) -> bool:
        """Kill one, rather one that has actions in its hands than one that has yet to start; say whether it had."""
        busy = self.busy()
        victim = chance.choice(busy or self.workers)
        victim.kill()
        self.workers.remove(victim)
        self.start()
        return victim in busy

    def busy(self) -> list[Worker]:
        """Workers whose lease holds actions: a lease names the process, which is of its worker's group."""
        names = Action.objects.filter(lease__ended_at=None).values_list("lease__worker", flat=True).exclude(lease=None)
        groups = {group_of(int(name.rpartition(":")[2])) for name in set(names)}
        return [w for w in self.workers if w.process.pid in groups]


def group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def more(cast: Cast, actions: dict[str, list[Action]], chance: random.Random) -> None:
    """Keep actions under way: two in three complete, the others are undone from their last step or from their end."""
    live = Action.objects.exclude(state__in=ENDED).count()
    for _ in range(max(0, UNDER_WAY - live)):
        kind = chance.choice(["completed", "completed", "completed", "completed", "rolled_back", "undone"])
        actions[kind] += ledger_actions(cast, 1, steps=STEPS, sleep_ms=chance.randrange(50, 500), **KINDS[kind])


@pytest.mark.timeout(0)
def test_every_action_ends_and_each_effect_happens_once_whoever_is_killed(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    chance, began, killed, hits = random.Random(), time.monotonic(), 0, 0
    ledger = root_of(committed_cast.dev) / ".ledger"
    actions: dict[str, list[Action]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        crowd = Crowd(product_environment, tmp_path, stack)
        while killed < KILLS and time.monotonic() - began < MOST_S:
            more(committed_cast, actions, chance)
            time.sleep(chance.uniform(0.2, 1))
            wait_for(lambda: bool(crowd.busy()), 30, "a worker with actions in its hands")
            time.sleep(chance.uniform(0, 0.5))
            hits += crowd.lose(chance)
            killed += 1
        everything = [action for some in actions.values() for action in some]
        wait_for(all_ended(everything), 120, f"the end of {states_of(everything)}", tmp_path / f"w{crowd.started}.log")
    print(f"\n{killed} kills, {hits} of a worker at work; {figures(everything, ledger, time.monotonic() - began)}")
    assert killed == KILLS or "INTERLOCK_SOAK_S" in os.environ, f"{killed} kills took {MOST_S} s"
    assert states_of(actions["completed"]) == {"completed": len(actions["completed"])}
    undone = actions["rolled_back"] + actions["undone"]
    assert states_of(undone) == {"rolled_back": len(undone)}
    assert not Event.objects.filter(verb__in=["action.hold", "step.undo_failed"]).exists(), "nothing was in doubt"
    assert_ledger_holds(ledger, len(actions["completed"]), len(actions["rolled_back"]), len(actions["undone"]))
    assert_sound(everything)


def figures(actions: list[Action], ledger: Path, seconds: float) -> str:
    lost = Lease.objects.filter(ended_why="not renewed in time").count()
    freed = Event.objects.filter(verb="lease.lost").count()
    found = JournalEntry.objects.filter(kind="receipt", facts__recovered=True).count()
    return (
        f"{seconds:.0f} s; {lost} leases lost, {freed} times an action under one; {len(actions)} actions: "
        f"{states_of(actions)}; {len(read_ledger(ledger))} effects, {len(doubles(ledger))} twice; "
        f"{found} found by a probe"
    )


def assert_ledger_holds(ledger: Path, completed: int, failed: int, undone: int) -> None:
    """Each step's line is there once; and once more, taken back, where the action was undone."""
    lines = Counter((line["key"], line["verb"]) for line in read_ledger(ledger))
    assert set(lines.values()) == {1}
    done, taken_back = (sum(verb == v for _, verb in lines) for v in ("do", "undo"))
    assert taken_back == failed * (STEPS - 1) + undone * STEPS
    assert done == completed * STEPS + taken_back
    assert doubles(ledger) == []
    assert sum(balance(ledger).values()) == completed * STEPS
