"""Wake the worker that makes reports. The database says what waits: losing the message costs a few seconds."""

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)
TASK = "audit.tasks.reports"


def wake() -> None:
    """After the commit, if one is under way. Never raises."""
    transaction.on_commit(_send)


def _send() -> None:
    try:
        current_app.send_task(TASK, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("report_nudge_lost", error=str(error))
