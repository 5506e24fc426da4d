"""Wake a worker by a message. The database says what waits: losing the message costs a few seconds."""

from functools import partial

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def wake_up(task: str) -> None:
    """Send the task after the commit, if a transaction is under way. Never raises."""
    transaction.on_commit(partial(_send, task))


def _send(task: str) -> None:
    try:
        current_app.send_task(task, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("wakeup_lost", task=task, error=str(error))
