"""After a commit: wake the workers that have the next turn, and tell the open pages, once per group."""

from typing import Any

from actions.lifecycle import Changed
from actions.live.groups import messages
from actions.nudge import announce
from actions.states import TO_DECIDE, TO_EXECUTE

HANDED_OVER = {"failed", "held", "rolled_back"}


def on_committed(sender: Any, *, changes: list[Changed], **kwargs: Any) -> None:
    """One nudge per queue, one message per environment, whatever the number of actions: one trip. Never raises."""
    free = {c.state for c in changes if not c.leased}
    queues = [name for name, states in (("decide", TO_DECIDE), ("execute", TO_EXECUTE)) if free.intersection(states)]
    if not HANDED_OVER.isdisjoint(c.state for c in changes):
        queues.append("handoff")
    announce(queues, messages(changes))
