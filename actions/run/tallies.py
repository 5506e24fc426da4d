"""
Counts of what steps used, by action type, for Prometheus: kept in Redis, where every web process finds them.

Losing Redis resets the counters, which Prometheus takes for a restart. Nothing here is the truth about any action.
"""

from collections import Counter
from typing import Any

import structlog
from redis import RedisError

from actions.nudge import store

log = structlog.get_logger(__name__)
KEY = "interlock:steps"
BOUNDS_S = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""Of the histogram of durations; what took longer counts as +Inf."""
INF = "+Inf"
_since: Counter[str] = Counter()
"""What this process has counted since it last told Redis."""


def count(type_name: str, outcome: str, metrics: dict[str, Any]) -> None:
    """Count one attempt; `outcome` is the kind of the ledger line that ended it."""
    took = metrics["duration_s"]
    bucket = next((str(bound) for bound in BOUNDS_S if took <= bound), INF)
    _since[f"took|{type_name}|{outcome}|{bucket}"] += 1
    for name, value in (
        (f"sum|{type_name}|{outcome}|s", took),
        (f"used|{type_name}|cpu|s", metrics["cpu_s"]),
        (f"used|{type_name}|read|bytes", metrics["read_bytes"]),
        (f"used|{type_name}|written|bytes", metrics["written_bytes"]),
    ):
        if value:
            _since[name] += value


def tell() -> None:
    """Add what was counted since to Redis, in one trip. Never raises; what could not be told is told next time."""
    if not _since:
        return
    told = dict(_since)
    try:
        pipe = store().pipeline(transaction=False)
        for name, value in told.items():
            pipe.hincrbyfloat(KEY, name, value)
        pipe.execute()
    except (RedisError, OSError) as error:
        log.warning("tallies_not_told", error=str(error))
        return
    _since.subtract(told)
    for name in [name for name, value in _since.items() if not value]:
        del _since[name]


def known() -> dict[str, dict[tuple[str, str, str], float]]:
    """All that was counted: by kind (took, sum, used), then by (type, outcome or use, bucket or unit).

    Raises RedisError.
    """
    found: dict[str, dict[tuple[str, str, str], float]] = {"took": {}, "sum": {}, "used": {}}
    for name, value in store().hgetall(KEY).items():
        text = name.decode() if isinstance(name, bytes) else name
        kind, type_name, what, unit = text.split("|", 3)
        found.setdefault(kind, {})[type_name, what, unit] = float(value)
    return found
