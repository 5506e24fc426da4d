"""One contender's turn, in a process of its own: prepare, say READY, wait for GO, carry everything, say what it took.

What is prepared (servers, workers, ten actions to warm up) is outside the clock; submitting is inside.
"""

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg

from tests.benchmarks.ground import OWN

WARM_UP = 10
LOOK_EVERY_S = 0.01

Carry = Callable[[int], dict[str, Any]]
"""Carries n actions from submission to completion; returns facts to report. Raises Incomplete."""


class Incomplete(RuntimeError):
    """Not every action completed. This alone fails a benchmark."""


def take_turn(prepare: Callable[[str, str], AbstractContextManager[Carry]]) -> None:
    """Play a turn over stdin and stdout. `prepare(url, mode)` gives what carries; it is warmed up before READY."""
    parser = ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--mode", default="")
    options = parser.parse_args()
    with prepare(options.url, options.mode) as carry:
        carry(WARM_UP)
        print("READY", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        facts = carry(options.n)
        print("DONE", json.dumps({"seconds": time.monotonic() - began, **facts}), flush=True)
        sys.stdin.readline()  # stay until our CPU time has been read


class Finish:
    """Waits until a database says that everything asked for has completed."""

    def __init__(self, url: str, completed: str, astray: str = "", patience_s: float = 120) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.completed, self.astray, self.patience_s = (
            f"{OWN} {completed}",
            f"{OWN} {astray}" if astray else "",
            patience_s,
        )

    def count(self) -> int:
        row = self.connection.execute(self.completed).fetchone()
        return row[0] if row else 0

    def wait(self, total: int) -> None:
        """Return once `total` have completed; raise Incomplete when one went astray or nothing moves any more."""
        done, moved_at = self.count(), time.monotonic()
        while done < total:
            time.sleep(LOOK_EVERY_S)
            now = self.count()
            if now > done:
                done, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > self.patience_s:
                raise Incomplete(f"{done} of {total} completed; nothing moved for {self.patience_s:.0f} s")
            elif self.astray and time.monotonic() - moved_at > 2:
                self._look_for_strays(done, total)

    def _look_for_strays(self, done: int, total: int) -> None:
        orphans = self.connection.execute(self.astray).fetchall()
        if orphans:
            raise Incomplete(f"{done} of {total} completed; others ended elsewhere: {orphans[:3]}")
