"""DBOS's turn: workflows of three trivial steps, in one of its modes.

`sequential`: one after the other in the calling thread. `started`: all started in the background, then awaited.
`queued`: enqueued by one process and run by two executor processes that poll every 10 ms, a hundredth of the default.
"""

import logging
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, DBOSConfig

from tests.benchmarks.turn import Carry, Finish, take_turn

QUEUE = "bench"
POLL_S = 0.01
THREADS = 8  # more were slower: the interpreter is what they wait for
VERSION = "bench"


@DBOS.step()
def trivial(number: int) -> int:
    return number


@DBOS.workflow()
def three_steps(n: int) -> int:
    for number in range(1, 4):
        trivial(number)
    return n


def launch(url: str, executor: str, listens: bool = True) -> None:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "application_version": VERSION,
        "executor_id": executor,
        "max_executor_threads": THREADS,
    }
    DBOS(config=config)
    if not listens:
        DBOS.listen_queues([])
    DBOS.launch()


def execute(url: str, executor: str) -> None:
    launch(url, executor)
    DBOS.register_queue(QUEUE, worker_concurrency=THREADS, polling_interval_sec=POLL_S)
    while True:
        time.sleep(3600)


def sequentially(n: int) -> None:
    for i in range(n):
        three_steps(i)


def started(n: int) -> None:
    for handle in [DBOS.start_workflow(three_steps, i) for i in range(n)]:
        handle.get_result()


def enqueued(n: int) -> None:
    for i in range(n):
        DBOS.enqueue_workflow(QUEUE, three_steps, i)


MODES = {"sequential": sequentially, "started": started, "queued": enqueued}


@contextmanager
def prepare(url: str, mode: str) -> Iterator[Carry]:
    logging.getLogger("dbos").setLevel(logging.ERROR)
    launch(url, "first", listens=mode != "queued")
    context = multiprocessing.get_context("spawn")
    executors = []
    if mode == "queued":
        DBOS.register_queue(QUEUE, worker_concurrency=THREADS, polling_interval_sec=POLL_S)
        executors = [context.Process(target=execute, args=(url, f"executor-{k}"), daemon=True) for k in (1, 2)]
        for process in executors:
            process.start()
    finish = Finish(
        url,
        "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'",
        "SELECT status FROM dbos.workflow_status WHERE status NOT IN ('SUCCESS', 'PENDING', 'ENQUEUED')",
    )

    def carry(n: int) -> dict[str, Any]:
        before = finish.count()
        MODES[mode](n)
        finish.wait(before + n)
        return {}

    try:
        yield carry
    finally:
        for process in executors:
            process.terminate()
            process.join()
        DBOS.destroy()


if __name__ == "__main__":
    take_turn(prepare)
