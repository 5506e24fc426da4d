"""One runner per process and queue: made at first use, wound down when the worker is told to stop."""

import os
import signal
from typing import Any

import psutil

from actions.engine.runner import Runner

HALT = signal.SIGUSR2
_runners: dict[str, Runner] = {}


def get_runner(queue: str) -> Runner:
    if queue not in _runners:
        _runners[queue] = Runner(queue)
    return _runners[queue]


def release_all() -> None:
    """End every lease of this process, so that what it held can be taken up elsewhere at once."""
    while _runners:
        _runners.popitem()[1].stop()


def wind_down(*signal_and_frame: Any) -> None:
    """Ask the runners of this process to wind down: no new step, no new claim."""
    for runner in list(_runners.values()):
        runner.halt.set()


def listen_for_halt() -> None:
    """Wind down on HALT; for the processes of a pool, which a warm shutdown otherwise only waits for."""
    signal.signal(HALT, wind_down)


def wind_down_pool() -> None:
    """Tell the processes of this worker's pool to wind down, and this one."""
    wind_down()
    for child in psutil.Process(os.getpid()).children():
        child.send_signal(HALT)
