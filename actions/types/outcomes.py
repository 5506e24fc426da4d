"""What a step of an executor comes to when something is in its way. Shared by executors that change something."""

from __future__ import annotations

import time
from collections.abc import Callable

from actions.types.durable import Busy
from actions.types.protocol import Outcome
from actions.types.tree import Unreachable


class Refused(Exception):
    """A step was not carried out; ``code`` is a stable word, ``str()`` says what to do."""

    def __init__(self, code: str, message: str, *, retryable: bool = False):
        self.code, self.retryable = code, retryable
        super().__init__(message)


def told(call: Callable[[], Outcome], what: str) -> Outcome:
    """Turn what a step on ``what`` runs into to its outcome."""
    try:
        return call()
    except Refused as exc:
        return Outcome(False, exc.code, str(exc), retryable=exc.retryable)
    except Busy:
        return Outcome(False, "busy", f"Another step is at work on {what}. Try again when it is done.", retryable=True)
    except Unreachable as exc:
        return Outcome(False, exc.code, str(exc), retryable=exc.code == "unstable")
    except OSError as exc:
        words = f"{what}: {exc.strerror or exc}. The disk or its rights need a look."
        return Outcome(False, "io", words, retryable=True)


def over(deadline: float, stopping: Callable[[], bool]) -> Outcome | None:
    """The outcome of a step that must not begin."""
    if stopping():
        return Outcome(False, "stopped", "Nothing was touched: the run is stopping.", retryable=True)
    if time.monotonic() >= deadline:
        return Outcome(False, "timeout", "Nothing was touched: the action's time ran out before this step.")
    return None
