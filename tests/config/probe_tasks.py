"""A task that tells which process ran it, over which database connection."""

from contextlib import suppress
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import OperationalError, connection
from redis import Redis

seen: list[Any] = []


@shared_task(name="tests.which_connection", ignore_result=True)
def which_connection() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    if not any(known is connection.connection for known in seen):
        seen.append(connection.connection)
    Redis.from_url(settings.REDIS_URL).rpush("tests:connections", len(seen))


@shared_task(name="tests.break_connection", ignore_result=True)
def break_connection() -> None:
    """End the session from the server's side, as a restart of the database would. (SQLite has no other side.)"""
    with suppress(OperationalError), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
