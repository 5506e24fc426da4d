"""Wait for news of one action without asking the database all the time: a wake, and never more than a wake."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import structlog
from channels.layers import get_channel_layer

from actions.live.groups import group_of, group_of_principal

log = structlog.get_logger(__name__)
DEAF_POLL_S = 1.0
"""How long a wait lasts when the layer does not answer: then looking is all that is left."""


class Ear:
    """Whether something was said since the last wait. Holds one bit, however much is said."""

    def __init__(self, action_id: UUID) -> None:
        self.action_id = str(action_id)
        self.said = asyncio.Event()
        self.is_deaf = False
        self.roles_changed = False

    async def wait(self, timeout_s: float) -> bool:
        """True as soon as something is said about the action or its listener; False when the time is over."""
        if self.is_deaf:
            timeout_s = min(timeout_s, DEAF_POLL_S)
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
async def listening(action_id: UUID, environment_id: UUID, principal_id: UUID | None) -> AsyncIterator[Ear]:
    """An ear for one action. Listen first, look afterwards: then nothing falls between the two. Never raises."""
    ear, layer = Ear(action_id), get_channel_layer()
    groups = [group_of(environment_id), *([group_of_principal(principal_id)] if principal_id else [])]
    channel, task = "", None
    try:
        channel = await layer.new_channel()
        for group in groups:
            await layer.group_add(group, channel)
        task = asyncio.ensure_future(_pump(layer, channel, ear))
    except Exception as error:  # the layer's client raises many kinds; without it the caller looks more often
        log.warning("live_layer_deaf", error=f"{type(error).__name__}: {error}")
        ear.is_deaf = True
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


async def _pump(layer: Any, channel: str, ear: Ear) -> None:
    """Take messages off the layer's queue as they come, so that it cannot grow while nobody waits."""
    while True:
        ear.hear(await layer.receive(channel))
