"""Thin Celery tasks of this floor; what waits is in the database."""

from celery import shared_task

from approvals.second_thoughts import settle_lapsed
from approvals.sending import notify as send_due


@shared_task(ignore_result=True)
def notify() -> None:
    """Approve what only lapsed wishes held, and tell people what waits. Runs every few seconds; harmless to repeat."""
    settle_lapsed()
    while send_due() >= 50:
        pass
