"""The one way in which tests wait: for a condition, up to a deadline."""

import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 0.02


def wait_for(test: Callable[[], object], seconds: float, what: str, log: Path | None = None) -> None:
    """Poll until `test` holds; fail with the process's log if it never does."""
    until = time.monotonic() + seconds
    while not test():
        if time.monotonic() > until:
            tail = log.read_text(errors="replace")[-4000:] if log and log.exists() else ""
            raise AssertionError(f"{what} did not happen within {seconds} s\n{tail}")
        time.sleep(LOOK_EVERY_S)
