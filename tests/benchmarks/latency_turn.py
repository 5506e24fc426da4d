"""How long one action waits for a machine with nothing else to do, one at a time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg

from tests.benchmarks import product
from tests.benchmarks.ground import OWN
from tests.benchmarks.report import quantiles
from tests.benchmarks.turn import Carry, Incomplete, take_turn

from actions.intake.submit import submit  # isort: skip  (after the set-up in product)
from actions.models import JournalEntry  # isort: skip
from actions.commands.review import approve

from actions.lifecycle.allowed import find_action  # isort: skip

LOOK_EVERY_S = 0.002
PATIENCE_S = 60
APART_S = 0.05  # long enough for the workers to have gone back to sleep


@contextmanager
def prepare(url: str, mode: str) -> Iterator[Carry]:
    scene = product.set_up()
    connection = psycopg.connect(url, autocommit=True)

    def state_of(action: Any) -> str:
        row = connection.execute(f"{OWN} SELECT state FROM actions_action WHERE id = %s", [action.pk]).fetchone()
        return str(row[0]) if row else ""

    def to_completion(number: int) -> float:
        began = time.time()
        action, _ = submit(scene.operator, product.no_op(number))
        until(lambda: state_of(action), "completed")
        return 1000 * (time.time() - began)

    def to_intent(number: int) -> float:
        action, _ = submit(scene.operator, product.no_op(number, product.GATED))
        until(lambda: state_of(action), "awaiting_approval")
        time.sleep(APART_S)
        plan = find_action(scene.approver, action.pk).plan
        approve(scene.approver, action.pk, True, plan.digest if plan else None, "")
        committed = time.time()
        until(lambda: state_of(action), "completed")
        return 1000 * (first_intent(action).timestamp() - committed)

    def carry(n: int) -> dict[str, Any]:
        samples: dict[str, list[float]] = {"submit to completed": [], "approved to first intent": []}
        for number in range(n):
            for name, sample in zip(samples, (to_completion, to_intent), strict=True):
                samples[name].append(sample(number))
                time.sleep(APART_S)
        return {"lines": [f"Idle latency, ms of {n}, {name}: {quantiles(took)}" for name, took in samples.items()]}

    with product.executor(), product.workers():
        yield carry


def first_intent(action: Any) -> datetime:
    found: datetime = JournalEntry.objects.filter(action_id=action.pk, kind="intent").earliest("at").at
    return found


def until(state: Callable[[], str], wanted: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (found := state()) != wanted:
        if time.monotonic() > deadline:
            raise Incomplete(f"still {found} after {PATIENCE_S} s, not {wanted}")
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    take_turn(prepare)
