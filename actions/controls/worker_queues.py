"""
Wake-ups of workers, and the queues on which they are woken up. Loads no models.

A wake-up says that work waits; the database says which. A lost wake-up costs one interval of the sweep, never the work.
A flag in Redis limits each queue to one pending wake-up: set when the wake-up is sent, renewed while a worker drains
the queue, cleared at the end. A wake-up that finds the flag set leaves a mark, which the draining worker reads
(`take_pending`). The flag expires after one interval of the sweep, so that a killed worker or an unsent message cannot
block the queue. If it expires early, a worker wakes up and finds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

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
"""Queues that are served by the workers of another queue."""


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
    """Wake up these queues and publish these messages (channel, body), all in one trip to Redis. Never raises."""
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
    """Whether more work was announced since the last call; renews the flag. True if Redis does not answer."""
    try:
        pipe = redis_client().pipeline(transaction=False)
        pipe.getdel(f"interlock:more:{queue}")
        pipe.set(f"interlock:wake_up:{queue}", 1, px=flag_ms())
        return bool(pipe.execute()[0])
    except redis.RedisError:
        return True


def clear_flag(queue: str) -> None:
    """Clear the flag at the end of a drain; the caller then looks for work once more."""
    try:
        redis_client().delete(f"interlock:wake_up:{queue}", f"interlock:more:{queue}")
    except redis.RedisError as error:
        log.warning("wake_up_flag_not_cleared", queue=queue, error=str(error))


def record_sweep(at: float) -> None:
    """Record when a sweep ended, in epoch seconds; the system page shows it."""
    try:
        redis_client().set("interlock:swept_at", at)
    except redis.RedisError as error:
        log.warning("sweep_not_noted", error=str(error))


def last_sweep() -> float | None:
    """When the last sweep ended, in epoch seconds; None if none is known of. Raises RedisError."""
    found = redis_client().get("interlock:swept_at")
    return float(found) if found else None


def is_woken(queue: str) -> bool:
    """Whether a wake-up for this queue is pending or being drained. Raises RedisError."""
    return bool(redis_client().exists(f"interlock:wake_up:{queue}"))


@dataclass(frozen=True)
class WorkerScope:
    """One node's actions or those of no node; `serves` limits it to `tenant/environment` pairs."""

    node: str = ""
    serves: tuple[str, ...] = ()

    def route(self, queue: str) -> str:
        """The queue on which this worker is woken up; `queue` itself for a worker without limits."""
        if self.node:
            return node_queue(queue, self.node)
        if self.serves:
            return f"{queue}.in.{sha256(' '.join(sorted(self.serves)).encode()).hexdigest()[:12]}"
        return queue


ANY_SCOPE = WorkerScope()


def node_queue(queue: str, node: str) -> str:
    """The queue of a node's own workers."""
    return f"{queue}.node.{node}"
