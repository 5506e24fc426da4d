"""Interlock's turn: one process submits, one action at a time, through intake, while the workers of `make run` drain.

Everything is real: screening, plan, digest, verdict, drift check, fenced checkpoints, chained events, artifacts,
verification, nudges and page messages. Afterwards, outside the clock, every step's receipt is counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from tests.benchmarks import product
from tests.benchmarks.turn import Carry, Finish, Incomplete, take_turn

from actions.intake.submit import submit  # isort: skip  (after the set-up in product)
from actions.models import JournalEntry  # isort: skip


@contextmanager
def prepare(url: str, mode: str) -> Iterator[Carry]:
    scene = product.set_up()
    finish = Finish(
        url,
        "SELECT count(*) FROM actions_action WHERE state = 'completed'",
        "SELECT state, error FROM actions_action WHERE state NOT IN"
        " ('queued', 'preflight', 'approved', 'in_progress', 'verifying', 'completed') LIMIT 3",
    )

    def carry(n: int) -> dict[str, Any]:
        before, began = finish.count(), monotonic()
        for number in range(n):
            submit(scene.operator, product.no_op(number))
        submitted = monotonic() - began
        finish.wait(before + n)
        return {"submitted_s": submitted}

    with product.executor(), product.workers():
        yield carry
    receipts, done = JournalEntry.objects.filter(kind="receipt").count(), finish.count()
    if receipts != product.STEPS * done:
        raise Incomplete(f"{receipts} receipts for {done} actions of {product.STEPS} steps")


if __name__ == "__main__":
    take_turn(prepare)
