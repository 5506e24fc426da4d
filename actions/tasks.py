"""Thin Celery tasks: each wakes one domain function. A message carries no ids; what waits is in the database."""

from celery import shared_task

from actions.nudge import nudge, settle
from actions.run.sweep import sweep_all
from actions.run.worker import runner_of


@shared_task(ignore_result=True)
def decide() -> None:
    drain("decide")


@shared_task(ignore_result=True)
def execute() -> None:
    drain("execute")


@shared_task(ignore_result=True)
def sweep() -> None:
    sweep_all(nudge)


def drain(queue: str) -> None:
    """Carry what waits; then clear the flag and look once more, so that a nudge in between is not lost."""
    runner = runner_of(queue)
    runner.drain()
    if runner.full_claim:
        nudge(queue, force=True)
    settle(queue)
    runner.drain()
