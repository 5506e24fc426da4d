"""What one submission costs, with nobody draining: from the call to the commit, without HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from tests.benchmarks import product
from tests.benchmarks.report import quantiles
from tests.benchmarks.turn import Carry, take_turn

from actions.intake.submit import submit  # isort: skip  (after the set-up in product)


@contextmanager
def prepare(url: str, mode: str) -> Iterator[Carry]:
    scene = product.set_up()

    def carry(n: int) -> dict[str, Any]:
        took = []
        for number in range(n):
            began = perf_counter()
            submit(scene.operator, product.no_op(number))
            took.append(1000 * (perf_counter() - began))
        return {"lines": [f"Submission alone, ms of {n}: {quantiles(took)}"]}

    with product.executor():
        yield carry


if __name__ == "__main__":
    take_turn(prepare)
