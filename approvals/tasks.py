"""Thin Celery tasks of this floor; the work that waits is in the database."""

from celery import shared_task

from approvals.notifications.send import send_due
from approvals.requests.withdraw import approve_lapsed


@shared_task(ignore_result=True)
def notify() -> None:
    """Approve requests blocked only by lapsed change requests, and send notifications. Harmless to repeat."""
    approve_lapsed()
    while send_due() >= 50:
        pass
