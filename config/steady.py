"""Intervals by the monotonic clock: the time of day may step back an hour, and beat must not fall silent for it."""

from datetime import UTC, datetime, timedelta
from time import monotonic

from celery.schedules import schedule

_AT, _BEGAN = datetime.now(UTC), monotonic()


def steady_now() -> datetime:
    """The time of day when this process began, and what has passed since. Never steps; may be wrong."""
    return _AT + timedelta(seconds=monotonic() - _BEGAN)


def every(seconds: float) -> schedule:
    """A schedule for beat."""
    return schedule(timedelta(seconds=seconds), nowfun=steady_now)
