"""Celery's part of the settings. A message is a wake-up: it may be lost or repeated, so it is acknowledged early.

Beat's intervals use the monotonic clock: the time of day may step back an hour, and beat must continue.
"""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from celery.schedules import schedule

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_DEFAULT_QUEUE = "decide"
CELERY_TASK_ROUTES = {
    "actions.tasks.decide": {"queue": "decide"},
    "actions.tasks.execute": {"queue": "execute"},
    "actions.tasks.sweep": {"queue": "sweep"},
    "actions.tasks.background": {"queue": "background"},
    "actions.tasks.work_incidents": {"queue": "background"},
    "approvals.tasks.notify": {"queue": "background"},
    "audit.tasks.seal": {"queue": "sweep"},
    "audit.tasks.publish_heads": {"queue": "background"},
    "audit.tasks.verify": {"queue": "background"},
    "audit.tasks.index": {"queue": "background"},
    "audit.tasks.packs": {"queue": "background"},
    "audit.tasks.reports": {"queue": "background"},
    "audit.tasks.stream": {"queue": "background"},
}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True  # a busy worker must not hold a wake-up that another could take
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = True
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BROKER_CONNECTION_RETRY = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Celery closes Django's connection around every task unless told how many tasks may share one. Broken and old
# connections are closed by config.celery's own signal handler.
CELERY_DB_REUSE_MAX = 1_000_000_000


def broker_settings(url: str) -> dict[str, Any]:
    """The settings that depend on the broker: RabbitMQ needs more than those above."""
    if not url.startswith(("amqp://", "amqps://", "pyamqp://")):
        patience = {"socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True}
        return {"CELERY_BROKER_TRANSPORT_OPTIONS": patience}
    return {
        "CELERY_TASK_DEFAULT_QUEUE_TYPE": "quorum",
        "CELERY_TASK_CREATE_MISSING_QUEUE_TYPE": "quorum",
        "CELERY_BROKER_NATIVE_DELAYED_DELIVERY_QUEUE_TYPE": "classic",  # declared by Celery, unused by us
        "CELERY_TASK_ACKS_LATE": True,  # with a prefetch of 1, a busy worker holds no other wake-up
        "CELERY_WORKER_DISABLE_PREFETCH": False,  # Celery knows that one on Redis only
        "CELERY_BROKER_CHANNEL_ERROR_RETRY": True,  # RabbitMQ closes the channel when a drain outlasts consumer_timeout
        "CELERY_BROKER_TRANSPORT_OPTIONS": {"confirm_publish": True},
    }


_STARTED_AT, _STARTED_MONOTONIC = datetime.now(UTC), monotonic()


def monotonic_now() -> datetime:
    """The time of day when this process started, plus the time since. Never steps; may be wrong."""
    return _STARTED_AT + timedelta(seconds=monotonic() - _STARTED_MONOTONIC)


def every_seconds(seconds: float) -> schedule:
    """A schedule for beat."""
    return schedule(timedelta(seconds=seconds), nowfun=monotonic_now)
