"""
Counts of what steps used, by action type, for Prometheus: kept in Redis, where every web process finds them.

Losing Redis resets the counters, which Prometheus takes for a restart. Nothing here is the truth about any action.
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
"""Of the histogram of durations; what took longer counts as +Inf."""
INF = "+Inf"
_unflushed: Counter[str] = Counter()
"""What this process has counted since it last told Redis."""


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
    """Add what was counted since to Redis, in one trip. Never raises; what could not be told is told next time."""
    if not _unflushed:
        return
    told = dict(_unflushed)
    try:
        pipe = redis_client().pipeline(transaction=False)
        for name, value in told.items():
            pipe.hincrbyfloat(KEY, name, value)
        pipe.execute()
    except (RedisError, OSError) as error:
        log.warning("counters_not_flushed", error=str(error))
        return
    _unflushed.subtract(told)
    for name in [name for name, value in _unflushed.items() if not value]:
        del _unflushed[name]


def read_counters() -> dict[str, dict[tuple[str, str, str], float]]:
    """All that was counted: by kind (took, sum, used), then by (type, outcome or use, bucket or unit).

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


def log_turn(w: Transition) -> None:
    """One log line for each turn that a person would look for, with the id that ties it to its request.

    What its attempts used is counted besides.
    """
    for line in () if w.action.simulated else w.journal_entries:
        if line.metrics:
            count_attempt(w.action.type, str(line.kind), line.metrics)
    if w.verb in LOGGED_VERBS:
        action = w.action
        turn_log.info(
            "action_moved",
            verb=w.verb,
            state=str(action.state),
            action=str(action.pk),
            correlation_id=action.correlation_id,
        )
