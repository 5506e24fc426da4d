"""
Many actions that want the same few resources, under caps, several workers, one of them killed: never two on one
resource, never more at once than the caps say, and everybody's turn comes.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from actions.engine.sweep import end_expired_leases
from actions.models import Action, ConcurrencyLimit, JournalEntry, Lease, ResourceLock
from audit.models import Event
from tests.actions.factory import propose, root_of
from tests.cast import Cast
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.faults.test_every_boundary import KILLED
from tests.faults.test_random_kills import group_of
from tests.support.ledger_executor import read_ledger
from tests.support.nursery import nursery
from tests.support.processes import ALL_QUEUES, WITH_LEDGER, Worker, wait_for, worker

SMALL = {"INTERLOCK_BATCH_SIZE": "10", "INTERLOCK_EFFECT_THREADS": "4"}
ENDS = ("action.complete", "action.fail", "action.finish_rollback")


@pytest.mark.slow
def test_a_hundred_and_twenty_actions_on_ten_resources_run_one_at_a_time_though_a_worker_is_killed(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    carry_through(
        committed_cast, product_environment, tmp_path, actions=120, cells=10, workers=3, seconds=120, caps=(3, 2)
    )


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_thousand_actions_on_fifty_resources_run_one_at_a_time_though_a_worker_is_killed(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    carry_through(
        committed_cast, product_environment, tmp_path, actions=1000, cells=50, workers=4, seconds=600, caps=(9, 3)
    )


def carry_through(
    cast: Cast,
    environment: dict[str, str],
    directory: Path,
    *,
    actions: int,
    cells: int,
    workers: int,
    seconds: float,
    caps: tuple[int, int],
) -> None:
    """`caps`: how many may run at once, altogether and in staging."""
    seed = random.randrange(10**6)
    print(f"\nseed {seed}")
    chance, ledger = random.Random(seed), ledger_of_both(cast)
    set_caps(cast, *caps)
    proposed = propose_all(cast, chance, actions, cells)
    began = time.monotonic()
    with ExitStack() as stack:
        crowd = [stack.enter_context(a_worker(environment, directory, n)) for n in range(workers)]
        wait_for(lambda: len(read_ledger(ledger)) > actions // 4, seconds, "some effects", crowd[0].log)
        victim = next_at_work(crowd, seconds)
        victim.kill()
        wait_until_completed(proposed, seconds, next(w.log for w in crowd if w is not victim))
    print(f"{actions} actions on {cells} resources: {time.monotonic() - began:.1f} s; {waits(proposed)}")
    assert Lease.objects.filter(ended_why="not renewed in time").exists(), "nobody was killed in the middle of a run"
    assert not ResourceLock.objects.exists()
    most = most_at_once(proposed), most_at_once([a for a in proposed if a.environment_id == cast.staging.pk])
    print(f"at most {most[0]} of {caps[0]} ran at once, and {most[1]} of {caps[1]} in staging")
    print(turns(proposed))
    assert most[0] <= caps[0] and most[1] <= caps[1]
    assert_nobody_overlaps(proposed)
    assert_effects_are_apart(proposed, ledger)
    assert_each_effect_once(proposed, ledger)
    assert_sound(proposed)


def ledger_of_both(cast: Cast) -> Path:
    """One ledger for dev and staging, whose cells have different names."""
    ledger = root_of(cast.dev) / ".ledger"
    for place in (cast.dev, cast.staging):
        place.settings = {**place.settings, "ledger": str(ledger)}
        place.save()
    return ledger


def set_caps(cast: Cast, altogether: int, in_staging: int) -> None:
    ConcurrencyLimit.objects.create(tenant=cast.acme, most=altogether)
    ConcurrencyLimit.objects.create(tenant=cast.acme, environment=cast.staging, type="ledger", most=in_staging)


def propose_all(cast: Cast, chance: random.Random, actions: int, cells: int) -> list[Action]:
    """Every third in staging, on the upper half of the cells; some of them urgent."""
    found = []
    for n in range(actions):
        low, high, where = (cells // 2, cells, "staging") if n % 3 == 0 else (0, cells // 2, "dev")
        wanted = wish(chance, low, high)
        found.append(
            propose(
                cast,
                type="ledger",
                environment=where,
                parameters=wanted,
                accept=True,
                priority=chance.choice([0, 0, 0, 20]),
            )
        )
    return found


def most_at_once(actions: Sequence[Action]) -> int:
    """How many ran at the same time at most, by their events: from each start to its end."""
    changes = []
    for begun, ended in spans_of(actions).values():
        changes += [(begun, 1), (ended, -1)]
    running = most = 0
    for _, change in sorted(changes, key=lambda c: (c[0], c[1])):  # an end comes before a start of the same moment
        running += change
        most = max(most, running)
    return most


def turns(actions: Sequence[Action]) -> str:
    """Nobody starved: how long each waited for its start, from the first start of all."""
    spans = spans_of(actions)
    first = min(begun for begun, _ in spans.values())
    waited = sorted(begun - first for begun, _ in spans.values())
    middle, last = waited[len(waited) // 2].total_seconds(), waited[-1].total_seconds()
    return f"half of them began within {middle:.1f} s, all within {last:.1f} s"


def wish(chance: random.Random, low: int, high: int) -> dict[str, Any]:
    """One to three cells, in no order; sometimes one after the other, sometimes side by side."""
    wanted = chance.sample(range(low + 1, high + 1), chance.randint(1, 3))
    beside = {"after": [[] for _ in wanted]} if chance.random() < 0.5 else {}
    return {"cells": wanted, "steps": len(wanted), "exclusive": True, "sleep_ms": chance.randrange(5, 30), **beside}


def next_at_work(crowd: list[Worker], seconds: float) -> Worker:
    """A worker that has actions under way."""
    found: list[Worker] = []

    def looked() -> bool:
        busy = Action.objects.filter(state="in_progress", lease__ended_at=None).exclude(lease=None)
        groups = {group_of(int(name.rpartition(":")[2])) for name in set(busy.values_list("lease__worker", flat=True))}
        found.extend(w for w in crowd if w.process.pid in groups)
        return bool(found)

    wait_for(looked, seconds, "a worker at work", crowd[0].log)
    return found[0]


def a_worker(environment: dict[str, str], directory: Path, n: int) -> Any:
    return worker(environment, directory / f"w{n}.log", WITH_LEDGER, queues=ALL_QUEUES, **SMALL)


def spans_of(actions: Sequence[Action]) -> dict[str, tuple[Any, Any]]:
    """When each run began and ended, by the events."""
    verbs = ["action.start", *ENDS]
    found = Event.objects.filter(subject_id__in=[a.pk for a in actions], verb__in=verbs)
    times = {(str(subject), verb): at for subject, verb, at in found.values_list("subject_id", "verb", "at")}
    return {
        str(a.pk): (
            times[str(a.pk), "action.start"],
            next(times[str(a.pk), verb] for verb in ENDS if (str(a.pk), verb) in times),
        )
        for a in actions
    }


def runs_of(actions: Sequence[Action]) -> dict[str, list[tuple[Any, Any, str]]]:
    """By resource: when each run on it began and ended, by the events of the actions, in order."""
    spans = spans_of(actions)
    runs: dict[str, list[tuple[Any, Any, str]]] = {}
    for action in actions:
        begun, ended = spans[str(action.pk)]
        for cell in action.parameters["cells"]:
            runs.setdefault(f"cell-{cell}", []).append((begun, ended, str(action.pk)))
    return {cell: sorted(found) for cell, found in runs.items()}


def assert_nobody_overlaps(actions: Sequence[Action]) -> None:
    for cell, runs in runs_of(actions).items():
        for (_, ended, one), (begun, _, other) in pairwise(runs):
            assert ended <= begun, f"{one} and {other} were both on {cell}"


def assert_effects_are_apart(actions: Sequence[Action], ledger: Path) -> None:
    """The effects on a resource came in the order of the runs on it, by the ledger that the executor wrote."""
    now = Action.objects.select_related("plan").filter(pk__in=[a.pk for a in actions])
    action_of = {s["idempotency_key"]: str(a.pk) for a in now for s in (a.plan.steps if a.plan else [])}
    effects: dict[str, list[str]] = {}
    for line in read_ledger(ledger):
        effects.setdefault(line["cell"], []).append(action_of[line["key"]])
    assert effects == {cell: [pk for _, _, pk in runs] for cell, runs in runs_of(actions).items()}


def waits(actions: Sequence[Action]) -> str:
    turned = Event.objects.filter(subject_id__in=[a.pk for a in actions], verb="action.waiting")
    most = Counter(turned.values_list("subject_id", flat=True)).most_common(1)
    lost = Event.objects.filter(verb="lease.lost").count()
    same = most[0][1] if most else 0
    return f"{lost} actions lost their worker; {turned.count()} times one had to wait, at most {same} times the same"


def test_a_worker_killed_while_two_steps_of_an_action_run_leaves_both_to_the_next(
    committed_cast, product_environment, redis_client, ledger_type
):
    """Each of the two is probed: one had taken effect, the other had not."""
    ledger = root_of(committed_cast.dev) / ".ledger"
    crash = {"step": 2, "at": "after_effect"}
    (action,) = ledger_actions(
        committed_cast,
        1,
        steps=4,
        after=[[], [], [1, 2], [3]],
        exclusive=True,
        crash=crash,
        slow_step=1,
        slow_ms=1500,
    )
    with nursery(product_environment) as workers:
        assert workers.work() == KILLED
        lines = JournalEntry.objects.filter(action=action).order_by("id")
        assert list(lines.values_list("step", "kind")) == [("001:cell-1", "intent"), ("002:cell-2", "intent")]
        assert [line["cell"] for line in read_ledger(ledger)] == ["cell-2"], "one had taken effect, of two in the air"
        assert ResourceLock.objects.filter(action=action, held=True).count() == 4
        wait_for(lambda: end_expired_leases() == 1, 10, "the end of the dead worker's lease")
        assert workers.work() == 0
    found = dict(JournalEntry.objects.filter(action=action, kind="receipt").values_list("step", "facts"))
    assert [step for step, facts in found.items() if facts.get("recovered")] == ["002:cell-2"]
    assert Counter(line["cell"] for line in read_ledger(ledger)) == {f"cell-{n}": 1 for n in range(1, 5)}
    assert Action.objects.get(pk=action.pk).state == "completed"
    assert not Event.objects.filter(verb__in=["step.failed", "action.hold"]).exists()
    assert not ResourceLock.objects.exists()
    assert_sound([action])
