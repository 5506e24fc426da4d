"""
Prometheus counters of the resource usage of steps, by action type: kept in Redis, for every web process.

Losing Redis resets them, which Prometheus treats as a restart. No action depends on them.
"""

from collections import Counter
from typing import Any

import structlog
from redis import RedisError

from actions.controls.worker_queues import redis_client
from actions.lifecycle.transitions import Transition

log = structlog.get_logger(__name__)
KEY = "interlock:steps"
BOUNDS_S = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the duration histogram; longer ones count as +Inf."""
INF = "+Inf"
_unflushed: Counter[str] = Counter()
"""Counts of this process since the last flush to Redis."""


def count_attempt(type_name: str, outcome: str, metrics: dict[str, Any]) -> None:
    """Count one attempt; `outcome` is the kind of the journal line that ended it."""
    took = metrics["duration_s"]
    bucket = next((str(bound) for bound in BOUNDS_S if took <= bound), INF)
    _unflushed[f"took|{type_name}|{outcome}|{bucket}"] += 1
    for name, value in (
        (f"sum|{type_name}|{outcome}|s", took),
        (f"used|{type_name}|cpu|s", metrics["cpu_s"]),
        (f"used|{type_name}|read|bytes", metrics["read_bytes"]),
        (f"used|{type_name}|written|bytes", metrics["written_bytes"]),
    ):
        if value:
            _unflushed[name] += value


def flush_counters() -> None:
    """
    Add the counts since the last flush to Redis, in one round trip. Never raises; a failed flush is repeated next time.
    """
    if not _unflushed:
        return
    flushed = dict(_unflushed)
    try:
        pipe = redis_client().pipeline(transaction=False)
        for name, value in flushed.items():
            pipe.hincrbyfloat(KEY, name, value)
        pipe.execute()
    except (RedisError, OSError) as error:
        log.warning("counters_not_flushed", error=str(error))
        return
    _unflushed.subtract(flushed)
    for name in [name for name, value in _unflushed.items() if not value]:
        del _unflushed[name]


def read_counters() -> dict[str, dict[tuple[str, str, str], float]]:
    """
    All counts: by kind (took, sum, used), then by (type, outcome or use, bucket or unit).

    Raises RedisError.
    """
    found: dict[str, dict[tuple[str, str, str], float]] = {"took": {}, "sum": {}, "used": {}}
    for name, value in redis_client().hgetall(KEY).items():
        text = name.decode() if isinstance(name, bytes) else name
        kind, type_name, what, unit = text.split("|", 3)
        found.setdefault(kind, {})[type_name, what, unit] = float(value)
    return found


turn_log = structlog.get_logger(__name__)


LOGGED_VERBS = ("start", "complete", "fail", "deny", "hold", "roll_back", "finish_rollback", "reopen")


def log_turn(transition: Transition) -> None:
    """
    Log one line for each event that a person may search for, with its correlation id; count the usage of its attempts.
    """
    for line in () if transition.action.simulated else transition.journal_entries:
        if line.metrics:
            count_attempt(transition.action.type, str(line.kind), line.metrics)
    if transition.verb in LOGGED_VERBS:
        action = transition.action
        turn_log.info(
            "action_moved",
            verb=transition.verb,
            state=str(action.state),
            action=str(action.pk),
            correlation_id=action.correlation_id,
        )
