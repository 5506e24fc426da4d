"""
Who hears of a change: one group per environment, one message per group and commit.

The message carries ids and seqs only; a page that hears it fetches over HTTP, where permission is checked again.
"""

from uuid import UUID

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from actions.lifecycle import Changed

log = structlog.get_logger(__name__)


def group_of(environment_id: UUID) -> str:
    return f"environment.{environment_id.hex}"


def group_of_principal(principal_id: UUID) -> str:
    """Where a socket hears that its principal's roles changed."""
    return f"principal.{principal_id.hex}"


def tell_principal(principal_id: UUID) -> None:
    """Have every connection of a principal look at its standing again: roles changed, or somebody signed out."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(layer.group_send)(group_of_principal(principal_id), {"type": "principal.changed"})
    except Exception as error:  # as in `tell`; connections look once a minute anyway
        log.warning("live_message_lost", error=f"{type(error).__name__}: {error}")


def tell(changes: list[Changed]) -> None:
    """Send one message per environment. A lost message is not an error: pages refetch when they reconnect."""
    by_environment: dict[UUID, dict[str, int]] = {}
    for c in changes:
        by_environment.setdefault(c.environment_id, {})[str(c.action_id)] = c.seq
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(_send)(layer, by_environment)
    except Exception as error:  # the layer's client raises many kinds; none may undo or hide what was committed
        log.warning("live_message_lost", error=f"{type(error).__name__}: {error}")


async def _send(layer: object, by_environment: dict[UUID, dict[str, int]]) -> None:
    for environment, changed in by_environment.items():
        await layer.group_send(group_of(environment), {"type": "actions.changed", "changed": changed})  # type: ignore[attr-defined]
