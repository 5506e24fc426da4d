"""Thin Celery tasks of this floor; what waits is in the database."""

from celery import shared_task

from approvals.sending import notify as send_due


@shared_task(ignore_result=True)
def notify() -> None:
    """Tell people what waits for them. Runs every few seconds; harmless to repeat."""
    while send_due() >= 50:
        pass
