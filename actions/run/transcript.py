"""The log of one attempt while it is written: lines from its thread, and what its end says of them."""

import time
from typing import Any

from actions.run.metrics import Meter
from actions.storable import text_of
from actions.transcripts import Attempt

MOST_LOG_LINES = 2_000
MOST_LINE_CHARACTERS = 2_000
TAKEN_UP = "— The worker was lost or stopped here; another one took the step up. —"


class Transcript(list[str]):
    """
    The lines of one attempt, in order. Its thread appends, the runner's reads; neither waits for the other.

    `earlier`: what a worker that was lost had written of the same attempt. `kept`: how many lines are durable already
    (`actions.run.live_log`).
    """

    def __init__(self, attempt: Attempt, earlier: list[str] | None = None) -> None:
        super().__init__(earlier or [])
        self.attempt, self.kept, self.left_out, self.is_over = attempt, len(self), 0, False
        self.meter, self.began = Meter(), time.monotonic()
        if self:
            self.append(TAKEN_UP)

    def note(self, text: Any) -> None:
        """Take one line from an executor, cut to what is kept."""
        if len(self) < MOST_LOG_LINES:
            self.append(" ".join(text_of(text).splitlines())[:MOST_LINE_CHARACTERS])
            return
        if not self.left_out:
            self.append(f"… what came after the first {MOST_LOG_LINES:,} lines is left out.")
        self.left_out += 1

    def used(self) -> dict[str, Any]:
        """The attempt's metrics, at its end. From its own thread."""
        self.is_over = True
        return {**self.meter.read(), "log_lines": len(self), "log_lines_left_out": self.left_out}
