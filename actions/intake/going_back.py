"""What a submission may say about its way back, and about what should stop it while it runs."""

from collections.abc import Iterator
from typing import Any

from actions.preflight.way_back import MODES, ORDERS
from actions.types.protocol import Issue

WAYS = {"order": ORDERS, "mode": MODES}
THEN = ("hold", "rollback")
SECONDS = (1, 3_600)


def going_back_issues(rollback: Any, watch: Any) -> Iterator[Issue]:
    """Everything wrong with `rollback` {"order", "mode"} and `watch` {"every_s", "error_rate", "then"}."""
    yield from _rollback_issues(rollback)
    yield from _watch_issues(watch)


def _rollback_issues(rollback: Any) -> Iterator[Issue]:
    if not isinstance(rollback, dict):
        yield Issue("error", "An object with `order` and `mode`.", "rollback")
        return
    for name in sorted(rollback.keys() - WAYS.keys(), key=str):
        yield Issue("error", "A rollback has `order` and `mode`.", f"rollback.{name}")
    for name, known in WAYS.items():
        if name in rollback and rollback[name] not in known:
            yield Issue("error", f"One of {', '.join(known)}.", f"rollback.{name}")


def _watch_issues(watch: Any) -> Iterator[Issue]:
    if not isinstance(watch, dict):
        yield Issue("error", "An object with `every_s`, `error_rate` and `then`.", "watch")
        return
    for name in sorted(watch.keys() - {"every_s", "error_rate", "then"}, key=str):
        yield Issue("error", "A watch has `every_s`, `error_rate` and `then`.", f"watch.{name}")
    every_s = watch.get("every_s", SECONDS[0])
    if type(every_s) is not int or not SECONDS[0] <= every_s <= SECONDS[1]:
        yield Issue("error", f"Between {SECONDS[0]} and {SECONDS[1]:,} seconds.", "watch.every_s")
    rate = watch.get("error_rate", 1)
    if type(rate) not in (int, float) or not 0 < rate <= 1:
        yield Issue("error", "A share of the attempts, above 0 and at most 1.", "watch.error_rate")
    if "then" in watch and watch["then"] not in THEN:
        yield Issue("error", f"One of {', '.join(THEN)}.", "watch.then")
