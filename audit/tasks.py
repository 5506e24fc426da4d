"""Thin Celery tasks of the ground floor; what waits is in the database."""

from time import monotonic

from celery import shared_task

from audit.seals.sealer import seal_all

SEALING_S = 2.0  # for one message: others of its queue must not wait long


@shared_task(ignore_result=True)
def seal() -> None:
    """Seal what was committed. Runs every few seconds; harmless to repeat, and beside itself."""
    until = monotonic() + SEALING_S
    if seal_all(lambda: monotonic() > until).is_more:
        seal.delay()
