"""Thin Celery tasks of this floor; what waits is in the database."""

from celery import shared_task

from approvals.notifications.send import send_due
from approvals.requests.withdraw import approve_lapsed


@shared_task(ignore_result=True)
def notify() -> None:
    """Approve what only lapsed wishes held, and tell people what waits. Runs every few seconds; harmless to repeat."""
    approve_lapsed()
    while send_due() >= 50:
        pass
