"""
A nudge says that work waits; the database says which. Losing one costs a sweep's interval, never the work.

A flag in Redis keeps one nudge per queue under way: it is set when a nudge is sent, held while a worker drains, and
cleared at the end. A nudge that finds it set leaves a mark instead, which the draining worker looks for (`heard`).
"""

from functools import lru_cache

import redis
import structlog
from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError as BrokerError

log = structlog.get_logger(__name__)
FLAG_S = 10
TASKS = {"decide": "actions.tasks.decide", "execute": "actions.tasks.execute"}


@lru_cache(maxsize=1)
def store() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def nudge(queue: str, *, force: bool = False) -> None:
    """Wake a worker of this queue, unless one is being woken or draining. Never raises: the sweep repairs."""
    try:
        if store().set(f"interlock:nudge:{queue}", 1, nx=not force, ex=FLAG_S):
            current_app.send_task(TASKS[queue], queue=queue, retry=False)
        else:
            store().set(f"interlock:more:{queue}", 1, ex=FLAG_S)
    except (redis.RedisError, BrokerError, OSError) as error:
        log.warning("nudge_lost", queue=queue, error=str(error))


def heard(queue: str) -> bool:
    """Whether more work was announced since the last look; renews the flag. True if Redis cannot tell."""
    try:
        pipe = store().pipeline(transaction=False)
        pipe.getdel(f"interlock:more:{queue}")
        pipe.set(f"interlock:nudge:{queue}", 1, ex=FLAG_S)
        return bool(pipe.execute()[0])
    except redis.RedisError:
        return True


def settle(queue: str) -> None:
    """Clear the flag at the end of a drain; whoever clears it looks once more for work."""
    try:
        store().delete(f"interlock:nudge:{queue}", f"interlock:more:{queue}")
    except redis.RedisError as error:
        log.warning("nudge_flag_not_cleared", queue=queue, error=str(error))
