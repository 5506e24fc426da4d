"""
Whose turn it is within a tenant: who has waited longest, where a point of priority is worth five minutes of waiting.

A turn is a time that never changes, so that it can be an index, and age outweighs priority in the end: who waits is
overtaken only by what is proposed within five minutes, times the difference in priority, after it. Between tenants
turns do not count: each gets its share (`actions.run.claim`).
"""

from datetime import datetime, timedelta

POINT = timedelta(minutes=5)
"""What one point of priority is worth."""


def turn_of(priority: int, proposed_at: datetime) -> datetime:
    return proposed_at - priority * POINT
