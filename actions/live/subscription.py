"""Ask the database from code that waits: the connection goes back as soon as the answer is there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import structlog
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import connection

from actions.live.messages import environment_group, principal_group

P = ParamSpec("P")
T = TypeVar("T")


def database_async(question: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Make a function that reads the database one to be awaited, which keeps no connection afterwards.

    Channels' own wrapper closes a connection even inside a transaction, and with it what a caller had begun.
    """
    return sync_to_async(partial(_call_and_release, question))


def _call_and_release(question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return question(*args, **kwargs)
    finally:
        if not connection.in_atomic_block:
            connection.close()


# Wait for news of one action without asking the database all the time: a wake, and never more than a wake.


log = structlog.get_logger(__name__)
DISCONNECTED_POLL_S = 1.0
"""How long a wait lasts when the layer does not answer: then looking is all that is left."""


class Subscription:
    """Whether something was said since the last wait. Holds one bit, however much is said."""

    def __init__(self, action_id: UUID) -> None:
        self.action_id = str(action_id)
        self.said = asyncio.Event()
        self.is_disconnected = False
        self.roles_changed = False

    async def wait(self, timeout_s: float) -> bool:
        """True as soon as something is said about the action or its listener; False when the time is over."""
        if self.is_disconnected:
            timeout_s = min(timeout_s, DISCONNECTED_POLL_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self.said.wait()
        heard = self.said.is_set()
        self.said.clear()
        return heard

    def hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "principal.changed":
            self.roles_changed = True
            self.said.set()
        elif self.action_id in message.get("changed", {}):
            self.said.set()


@asynccontextmanager
async def subscribe(action_id: UUID, environment_id: UUID, principal_id: UUID | None) -> AsyncIterator[Subscription]:
    """An ear for one action. Listen first, look afterwards: then nothing falls between the two. Never raises."""
    ear, layer = Subscription(action_id), get_channel_layer()
    groups = [environment_group(environment_id), *([principal_group(principal_id)] if principal_id else [])]
    channel, task = "", None
    try:
        channel = await layer.new_channel()
        for group in groups:
            await layer.group_add(group, channel)
        task = asyncio.ensure_future(_receive_forever(layer, channel, ear))
    except Exception as error:  # the layer's client raises many kinds; without it the caller looks more often
        log.warning("live_layer_deaf", error=f"{type(error).__name__}: {error}")
        ear.is_disconnected = True
    try:
        yield ear
    finally:
        with suppress(Exception):
            for group in groups:
                await layer.group_discard(group, channel)
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _receive_forever(layer: Any, channel: str, ear: Subscription) -> None:
    """Take messages off the layer's queue as they come, so that it cannot grow while nobody waits."""
    while True:
        ear.hear(await layer.receive(channel))
