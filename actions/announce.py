"""After a commit: wake the workers that have the next turn, and tell the open pages, once per group."""

from typing import Any

from actions.lifecycle import Changed
from actions.live.groups import tell
from actions.nudge import nudge
from actions.states import TO_DECIDE, TO_EXECUTE


def on_committed(sender: Any, *, changes: list[Changed], **kwargs: Any) -> None:
    """One nudge per queue, one message per environment, whatever the number of actions. Never raises."""
    free = [c.state for c in changes if not c.leased]
    if any(state in TO_DECIDE for state in free):
        nudge("decide")
    if any(state in TO_EXECUTE for state in free):
        nudge("execute")
    tell(changes)
