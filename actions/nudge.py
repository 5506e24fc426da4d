"""
A nudge says that work waits; the database says which. Losing one costs a sweep's interval, never the work.

A flag in Redis keeps one nudge per queue under way: it is set when a nudge is sent, held while a worker drains, and
cleared at the end. A nudge that finds it set leaves a mark instead, which the draining worker looks for (`heard`).
The flag lasts no longer than a sweep's interval: one whose worker was killed, or whose message was never sent, must not
keep the sweep from repairing it. Losing it early costs a message that finds nothing to do.
"""

from functools import lru_cache

import redis
import structlog
from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError as BrokerError

log = structlog.get_logger(__name__)
TASKS = {"decide": "actions.tasks.decide", "execute": "actions.tasks.execute"}


@lru_cache(maxsize=1)
def store() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def flag_ms() -> int:
    """How long a flag lasts unless it is renewed; a draining worker does so every quarter of a second."""
    return max(1_000, int(settings.INTERLOCK.sweep_s * 1_000))


def nudge(queue: str, *, force: bool = False) -> None:
    """Wake a worker of this queue, unless one is being woken or draining. Never raises: the sweep repairs."""
    try:
        if store().set(f"interlock:nudge:{queue}", 1, nx=not force, px=flag_ms()):
            current_app.send_task(TASKS[queue], queue=queue, retry=False)
        else:
            store().set(f"interlock:more:{queue}", 1, px=flag_ms())
    except (redis.RedisError, BrokerError, OSError) as error:
        log.warning("nudge_lost", queue=queue, error=str(error))


def heard(queue: str) -> bool:
    """Whether more work was announced since the last look; renews the flag. True if Redis cannot tell."""
    try:
        pipe = store().pipeline(transaction=False)
        pipe.getdel(f"interlock:more:{queue}")
        pipe.set(f"interlock:nudge:{queue}", 1, px=flag_ms())
        return bool(pipe.execute()[0])
    except redis.RedisError:
        return True


def settle(queue: str) -> None:
    """Clear the flag at the end of a drain; whoever clears it looks once more for work."""
    try:
        store().delete(f"interlock:nudge:{queue}", f"interlock:more:{queue}")
    except redis.RedisError as error:
        log.warning("nudge_flag_not_cleared", queue=queue, error=str(error))


def swept(at: float) -> None:
    """Leave word that a sweep has been through, at an epoch second; the system page shows it."""
    try:
        store().set("interlock:swept_at", at)
    except redis.RedisError as error:
        log.warning("sweep_not_noted", error=str(error))


def last_sweep() -> float | None:
    """When the last sweep ended, in epoch seconds; None if none is known of. Raises RedisError."""
    found = store().get("interlock:swept_at")
    return float(found) if found else None


def is_nudged(queue: str) -> bool:
    """Whether a nudge for this queue is under way or being worked off. Raises RedisError."""
    return bool(store().exists(f"interlock:nudge:{queue}"))
