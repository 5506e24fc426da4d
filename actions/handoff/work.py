"""The hand-off's turn of work: what waits is in the database, and every part may be done twice or by two at once."""

import time
from collections.abc import Callable
from typing import Any

from actions.handoff.gathering import gather_due, ungathered
from actions.handoff.opening import due, finished_wait, open_due, settle_finished
from actions.handoff.overdue import escalate_overdue, overdue
from actions.handoff.sending import due_now, send_due

SLICE_S = 10.0


def carry_on(slice_s: float = SLICE_S, still: Callable[[], Any] = lambda: None) -> None:
    """Open, settle, gather, escalate and send until nothing waits or the slice is over, calling `still` in between."""
    until = time.monotonic() + slice_s
    while open_due() + settle_finished() + gather_due() + escalate_overdue() + send_due():
        still()
        if time.monotonic() >= until:
            return


def waits() -> bool:
    """Whether anything can be done now. Five queries at most, each by an index of what waits."""
    return any(rows.exists() for rows in (due(), ungathered(), due_now(), overdue())) or finished_wait()
