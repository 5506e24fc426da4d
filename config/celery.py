"""The Celery application: workers that keep their database connection, and look for work the moment they start."""

import os
import signal
import warnings
from typing import Any

from billiard import current_process
from celery import Celery, signals
from celery.exceptions import SecurityWarning

from config.run.parent_death_signal import die_with_parent

warnings.simplefilter("ignore", SecurityWarning)  # who starts a worker as root knows; nothing here unpickles
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("interlock")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

CONNECTION_AGE_S = 3600


@signals.setup_logging.connect
def _use_our_logging(**_: Any) -> None:
    """Django has configured logging already; without a receiver Celery would add handlers of its own."""


@signals.worker_process_init.connect
@signals.worker_init.connect
def keep_connections(**_: Any) -> None:
    """Let a worker's connections live across tasks. (A web request's thread ends with it, so there they must not.)"""
    from django.db import connections

    for settings in connections.settings.values():
        settings["CONN_MAX_AGE"] = CONNECTION_AGE_S


@signals.worker_process_init.connect
def die_with_worker(**_: Any) -> None:
    """End a pool process whose worker was killed. (A solo pool's process is the worker itself.)"""
    if current_process().name != "MainProcess":
        die_with_parent(signal.SIGKILL)


@signals.task_prerun.connect
def drop_broken_connections(**_: Any) -> None:
    from django.db import close_old_connections, connection

    if not connection.in_atomic_block:
        close_old_connections()


@signals.worker_ready.connect
def sweep_at_start(sender: Any, **_: Any) -> None:
    """Find the actions that waited while no worker ran, without waiting for beat."""
    sender.app.send_task("actions.tasks.sweep", retry=False)
