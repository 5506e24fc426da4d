"""Thin Celery tasks: each wakes one domain function. A message carries no ids; what waits is in the database."""

from time import time
from typing import Any

from celery import shared_task, signals

from actions.backtests.worker import has_waiting as backtests_wait
from actions.backtests.worker import run_slice
from actions.controls.wake_up import clear_flag, record_sweep, take_pending, wake_up
from actions.controls.worker_routing import ANY_SCOPE, own_scope
from actions.engine import prometheus_counters
from actions.engine.sweep import sweep_all
from actions.engine.worker import get_runner, listen_for_halt, release_all, wind_down_pool
from actions.incidents.worker import has_work as incidents_wait
from actions.incidents.worker import run_slice as hand_over


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
    """A slice of a backtest, then the next one by a message of its own, so that none keeps the others waiting."""
    run_slice(still=lambda: take_pending("background"))
    clear_flag("background")
    if backtests_wait():
        wake_up("background")


@shared_task(ignore_result=True)
def work_incidents() -> None:
    """A slice of the hand-off: tickets, diagnostics and messages; then the next one, so that backtests have turns."""
    hand_over(still=lambda: take_pending("incidents"))
    clear_flag("incidents")
    if incidents_wait():
        wake_up("incidents")


def drain(queue: str) -> None:
    """Carry what waits; then clear the flag and look once more, so that a nudge in between is not lost.

    A look that finds something renews the flag, so it is cleared again until a look finds nothing.
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
    """A node's worker looks for its own work at once, and is known by it: nobody nudges a node that is not known."""
    scope = own_scope()
    if scope != ANY_SCOPE:
        for queue in ("decide", "execute"):
            wake_up(scope.route(queue), force=True)


@signals.worker_shutting_down.connect
def shutting_down(**kwargs: Any) -> None:
    """A worker that is told to stop takes no new step and gives running ones a moment."""
    wind_down_pool()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def stopped(**kwargs: Any) -> None:
    """A worker that stops lets go of what it holds, so that another can take it up at once."""
    release_all()
