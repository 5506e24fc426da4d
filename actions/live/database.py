"""Ask the database from code that waits: the connection goes back as soon as the answer is there."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")


def asking(question: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Make a function that reads the database one to be awaited, which keeps no connection afterwards.

    Channels' own wrapper closes a connection even inside a transaction, and with it what a caller had begun.
    """
    return sync_to_async(partial(_asked, question))


def _asked(question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return question(*args, **kwargs)
    finally:
        if not connection.in_atomic_block:
            connection.close()
