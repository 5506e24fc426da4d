"""Absurd's turn: one process spawns tasks of three trivial steps while one or two worker processes (mode) claim fifty
at a time. Its schema comes with `absurdctl`. Polling is set to 10 ms, a twenty-fifth of its default, in its favour.
"""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import absurdctl
import psycopg
from absurd_sdk import Absurd, TaskContext

from tests.benchmarks.turn import Carry, Finish, take_turn

QUEUE = "bench"
BATCH = 50
POLL_S = 0.01


def application(url: str) -> Absurd:
    app = Absurd(url, queue_name=QUEUE)

    @app.register_task(name="three-steps")
    def three_steps(params: Any, ctx: TaskContext) -> Any:
        for number in range(1, 4):
            ctx.step(f"step-{number}", lambda number=number: {"step": number})
        return {"n": params["n"]}

    return app


def work(url: str) -> None:
    application(url).start_worker(batch_size=BATCH, poll_interval=POLL_S)


@contextmanager
def prepare(url: str, mode: str) -> Iterator[Carry]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
    app = application(url)
    app.create_queue(QUEUE)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(url,), daemon=True) for _ in range(int(mode))]
    for worker in workers:
        worker.start()
    finish = Finish(
        url,
        f"SELECT count(*) FROM absurd.t_{QUEUE} WHERE state = 'completed'",
        f"SELECT state FROM absurd.t_{QUEUE} WHERE state IN ('failed', 'cancelled')",
    )

    def carry(n: int) -> dict[str, Any]:
        before = finish.count()
        for i in range(n):
            app.spawn("three-steps", {"n": i})
        finish.wait(before + n)
        return {}

    try:
        yield carry
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


if __name__ == "__main__":
    take_turn(prepare)
