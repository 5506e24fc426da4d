"""
The Celery tasks, and the runners of a worker process: one per queue, created at first use, stopped with the worker.

A task calls one function. Its message carries no ids; what waits is in the database.
"""

import os
import signal
from time import time
from typing import Any

import psutil
from celery import shared_task, signals

from actions.backtests.worker import has_waiting as backtests_wait
from actions.backtests.worker import run_slice
from actions.controls.nodes import own_scope
from actions.controls.worker_queues import ANY_SCOPE, clear_flag, record_sweep, take_pending, wake_up
from actions.engine import prometheus_counters
from actions.engine.runner import Runner
from actions.engine.sweep import sweep_all
from actions.incidents.worker import has_work as incidents_wait
from actions.incidents.worker import run_slice as run_incidents_slice

HALT = signal.SIGUSR2
_runners: dict[str, Runner] = {}


def get_runner(queue: str) -> Runner:
    if queue not in _runners:
        _runners[queue] = Runner(queue)
    return _runners[queue]


def release_all() -> None:
    """End every lease of this process, so that other workers can take over at once."""
    while _runners:
        _runners.popitem()[1].stop()


def wind_down(*signal_and_frame: Any) -> None:
    """Ask the runners of this process to wind down: no new step, no further dequeue."""
    for runner in list(_runners.values()):
        runner.halt.set()


def listen_for_halt() -> None:
    """Wind down on HALT: for pool processes, which a warm shutdown does not signal."""
    signal.signal(HALT, wind_down)


def wind_down_pool() -> None:
    """Tell the processes of this worker's pool to wind down, and this one."""
    wind_down()
    for child in psutil.Process(os.getpid()).children():
        child.send_signal(HALT)


# The tasks.


@shared_task(ignore_result=True)
def decide() -> None:
    drain("decide")


@shared_task(ignore_result=True)
def execute() -> None:
    drain("execute")


@shared_task(ignore_result=True)
def sweep() -> None:
    sweep_all(wake_up)
    if backtests_wait():
        wake_up("background")
    if incidents_wait():
        wake_up("incidents")
    record_sweep(time())


@shared_task(ignore_result=True)
def background() -> None:
    """Run a slice of a backtest, then send the next wake-up, so that no backtest blocks the others."""
    run_slice(still=lambda: take_pending("background"))
    clear_flag("background")
    if backtests_wait():
        wake_up("background")


@shared_task(ignore_result=True)
def work_incidents() -> None:
    """Run a slice of incident work, then send the next wake-up, so that backtests have turns in between."""
    run_incidents_slice(still=lambda: take_pending("incidents"))
    clear_flag("incidents")
    if incidents_wait():
        wake_up("incidents")


def drain(queue: str) -> None:
    """
    Run what waits; then clear the flag and look again, so that no wake-up in between is lost.

    Draining renews the flag, so this repeats until nothing is found.
    """
    runner = get_runner(queue)
    runner.drain()
    prometheus_counters.flush_counters()
    if runner.is_full:
        wake_up(runner.route, force=True)
    clear_flag(runner.route)
    while runner.drain():
        clear_flag(runner.route)


@signals.worker_process_init.connect
def started(**kwargs: Any) -> None:
    listen_for_halt()


@signals.worker_ready.connect
def ready(**kwargs: Any) -> None:
    """Make a node's worker look for work at once; that also registers the node, so that it is woken up from now on."""
    scope = own_scope()
    if scope != ANY_SCOPE:
        for queue in ("decide", "execute"):
            wake_up(scope.route(queue), force=True)


@signals.worker_shutting_down.connect
def shutting_down(**kwargs: Any) -> None:
    """A stopping worker starts no new step and gives running ones a moment."""
    wind_down_pool()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def stopped(**kwargs: Any) -> None:
    """A stopped worker releases its leases, so that another can take over at once."""
    release_all()
