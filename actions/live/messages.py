"""
Who hears of a change: one group per environment, one message per group and commit.

The message carries ids and seqs only; a page that hears it fetches over HTTP, where permission is checked again.

Listeners use the channel layer; what is said goes to Redis directly, in the layer's own form. The layer's `group_send`
would need an event loop, and so a thread and a new connection for every commit (measured: 3 ms instead of 0.1).
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from channels.layers import get_channel_layer
from django.conf import settings
from redis import RedisError

from actions.controls.worker_queues import redis_client
from actions.lifecycle.commit import Changed
from actions.models import Action

log = structlog.get_logger(__name__)
Message = tuple[str, bytes]
"""A Redis channel, and what to publish there."""


def environment_group(environment_id: UUID) -> str:
    return f"environment.{environment_id.hex}"


def principal_group(principal_id: UUID) -> str:
    """Where a socket hears that its principal's roles changed."""
    return f"principal.{principal_id.hex}"


def notify_principal(principal_id: UUID) -> None:
    """Have every connection of a principal look at its standing again: roles changed, or somebody signed out."""
    _publish([_message(principal_group(principal_id), {"type": "principal.changed"})])


def publish_changes(changes: Iterable[Changed]) -> None:
    """Send one message per environment. A lost message is not an error: pages refetch when they reconnect."""
    _publish(change_messages(changes))


def change_messages(changes: Iterable[Changed]) -> list[Message]:
    """What to publish so that open pages hear of these changes: one message per environment."""
    by_environment: dict[UUID, dict[str, int]] = {}
    for c in changes:
        by_environment.setdefault(c.environment_id, {})[str(c.action_id)] = c.seq
    return [
        _message(environment_group(environment), {"type": "actions.changed", "changed": changed})
        for environment, changed in by_environment.items()
    ]


def publish_log_written(actions: Iterable[Action]) -> None:
    """Say that running steps of these actions wrote more: one message per environment, as often as a worker writes."""
    by_environment: dict[UUID, list[str]] = {}
    for action in actions:
        by_environment.setdefault(action.environment_id, []).append(str(action.pk))
    _publish(
        [_message(environment_group(e), {"type": "actions.said", "said": ids}) for e, ids in by_environment.items()]
    )


def _publish(said: list[Message]) -> None:
    """Never raises: connections look once a minute anyway."""
    try:
        pipe = redis_client().pipeline(transaction=False)
        for channel, body in said:
            pipe.publish(channel, body)
        pipe.execute()
    except (RedisError, OSError) as error:
        log.warning("live_message_lost", error=f"{type(error).__name__}: {error}")


def _message(group: str, message: dict[str, Any]) -> Message:
    return f"{_prefix()}__group__{group}", _layer().serialize(message)


@lru_cache(maxsize=1)
def _layer() -> Any:
    return get_channel_layer()


@lru_cache(maxsize=1)
def _prefix() -> str:
    layer: Any = settings.CHANNEL_LAYERS["default"]
    return str(layer["CONFIG"].get("prefix", "asgi"))
