"""Thin Celery tasks: each wakes one domain function. A message carries no ids; what waits is in the database."""

from time import time
from typing import Any

from celery import shared_task, signals

from actions.handoff.work import carry_on as hand_over
from actions.handoff.work import waits as handoff_waits
from actions.nudge import heard, nudge, settle, swept
from actions.rehearsal.work import carry_on
from actions.rehearsal.work import waiting as backtests_wait
from actions.run import tallies
from actions.run.sweep import sweep_all
from actions.run.worker import let_go, listen, pass_on, runner_of
from actions.scheduling.routes import here
from actions.scheduling.scope import ANY


@shared_task(ignore_result=True)
def decide() -> None:
    drain("decide")


@shared_task(ignore_result=True)
def execute() -> None:
    drain("execute")


@shared_task(ignore_result=True)
def sweep() -> None:
    sweep_all(nudge)
    swept(time())


@shared_task(ignore_result=True)
def background() -> None:
    """A slice of a backtest, then the next one by a message of its own, so that none keeps the others waiting."""
    carry_on(still=lambda: heard("background"))
    settle("background")
    if backtests_wait():
        nudge("background")


@shared_task(ignore_result=True)
def hand_off() -> None:
    """A slice of the hand-off: tickets, diagnostics and messages; then the next one, so that backtests have turns."""
    hand_over(still=lambda: heard("handoff"))
    settle("handoff")
    if handoff_waits():
        nudge("handoff")


def drain(queue: str) -> None:
    """Carry what waits; then clear the flag and look once more, so that a nudge in between is not lost.

    A look that finds something renews the flag, so it is cleared again until a look finds nothing.
    """
    runner = runner_of(queue)
    runner.drain()
    tallies.tell()
    if runner.full_claim:
        nudge(runner.route, force=True)
    settle(runner.route)
    while runner.drain():
        settle(runner.route)


@signals.worker_process_init.connect
def started(**kwargs: Any) -> None:
    listen()


@signals.worker_ready.connect
def ready(**kwargs: Any) -> None:
    """A node's worker looks for its own work at once, and is known by it: nobody nudges a node that is not known."""
    scope = here()
    if scope != ANY:
        for queue in ("decide", "execute"):
            nudge(scope.route(queue), force=True)


@signals.worker_shutting_down.connect
def shutting_down(**kwargs: Any) -> None:
    """A worker that is told to stop takes no new step and gives running ones a moment."""
    pass_on()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def stopped(**kwargs: Any) -> None:
    """A worker that stops lets go of what it holds, so that another can take it up at once."""
    let_go()
