"""The database, from an effect thread: for executors whose target is the database itself, the exception to the rule."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def own_connection() -> Iterator[None]:
    """Use this thread's connection; close it afterwards if it was opened for this, so that idle threads keep none."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    was_open = connection.connection is not None
    try:
        yield
    finally:
        if not was_open and not connection.in_atomic_block:
            connection.close()
