"""
A nudge says that work waits; the database says which. Losing one costs a sweep's interval, never the work.

A flag in Redis keeps one nudge per queue under way: it is set when a nudge is sent, held while a worker drains, and
cleared at the end. A nudge that finds it set leaves a mark instead, which the draining worker looks for (`heard`).
The flag lasts no longer than a sweep's interval: one whose worker was killed, or whose message was never sent, must not
keep the sweep from repairing it. Losing it early costs a message that finds nothing to do.
"""

from collections.abc import Sequence
from functools import lru_cache

import redis
import structlog
from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError as BrokerError

log = structlog.get_logger(__name__)
TASKS = {
    "decide": "actions.tasks.decide",
    "execute": "actions.tasks.execute",
    "background": "actions.tasks.background",
    "incidents": "actions.tasks.work_incidents",
}
SHARED = {"incidents": "background"}
"""Whose work is done by the workers of another queue."""


@lru_cache(maxsize=1)
def redis_client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def flag_ms() -> int:
    """How long a flag lasts unless it is renewed; a draining worker does so every quarter of a second."""
    return max(1_000, int(settings.INTERLOCK.sweep_s * 1_000))


_WAKE_UP = """
    if redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) then return 1 end
    redis.call('SET', KEYS[2], 1, 'PX', ARGV[1])
    return 0"""
"""Set the flag; or, where it is set already, leave the mark. In one step, so that the drain's end misses neither."""


def wake_up(queue: str, *, force: bool = False) -> None:
    """Wake a worker of this queue, unless one is being woken or draining. Never raises: the sweep repairs."""
    if not force:
        wake_and_publish([queue])
        return
    try:
        redis_client().set(f"interlock:wake_up:{queue}", 1, px=flag_ms())
        _send_task(queue)
    except (redis.RedisError, BrokerError, OSError) as error:
        log.warning("wake_up_lost", queue=queue, error=str(error))


def wake_and_publish(queues: Sequence[str], messages: Sequence[tuple[str, bytes]] = ()) -> None:
    """Nudge these queues and publish these messages (channel, body), all in one trip to Redis. Never raises."""
    if not queues and not messages:
        return
    try:
        pipe = redis_client().pipeline(transaction=False)
        for queue in queues:
            pipe.eval(_WAKE_UP, 2, f"interlock:wake_up:{queue}", f"interlock:more:{queue}", flag_ms())
        for channel, body in messages:
            pipe.publish(channel, body)
        for queue, is_first in zip(queues, pipe.execute(), strict=False):
            if is_first:
                _send_task(queue)
    except (redis.RedisError, BrokerError, OSError) as error:
        log.warning("wake_up_lost", queues=list(queues), messages=len(messages), error=str(error))


def _send_task(queue: str) -> None:
    current_app.send_task(TASKS[queue.partition(".")[0]], queue=SHARED.get(queue, queue), retry=False)


def take_pending(queue: str) -> bool:
    """Whether more work was announced since the last look; renews the flag. True if Redis cannot tell."""
    try:
        pipe = redis_client().pipeline(transaction=False)
        pipe.getdel(f"interlock:more:{queue}")
        pipe.set(f"interlock:wake_up:{queue}", 1, px=flag_ms())
        return bool(pipe.execute()[0])
    except redis.RedisError:
        return True


def clear_flag(queue: str) -> None:
    """Clear the flag at the end of a drain; whoever clears it looks once more for work."""
    try:
        redis_client().delete(f"interlock:wake_up:{queue}", f"interlock:more:{queue}")
    except redis.RedisError as error:
        log.warning("wake_up_flag_not_cleared", queue=queue, error=str(error))


def record_sweep(at: float) -> None:
    """Leave word that a sweep has been through, at an epoch second; the system page shows it."""
    try:
        redis_client().set("interlock:swept_at", at)
    except redis.RedisError as error:
        log.warning("sweep_not_noted", error=str(error))


def last_sweep() -> float | None:
    """When the last sweep ended, in epoch seconds; None if none is known of. Raises RedisError."""
    found = redis_client().get("interlock:swept_at")
    return float(found) if found else None


def is_woken(queue: str) -> bool:
    """Whether a nudge for this queue is under way or being worked off. Raises RedisError."""
    return bool(redis_client().exists(f"interlock:wake_up:{queue}"))
