"""After a commit: wake the workers that have the next turn, and tell the open pages, once per group."""

from typing import Any

from actions.case import Case
from actions.lifecycle import Changed
from actions.live.groups import messages, tell_said
from actions.nudge import announce
from actions.scheduling.routes import limited_routes
from actions.scheduling.scope import of_node
from actions.states import TO_DECIDE, TO_EXECUTE

STATES = (("decide", TO_DECIDE), ("execute", TO_EXECUTE))
HANDED_OVER = {"failed", "held", "rolled_back"}


def on_said(sender: Any, *, cases: list[Case], **kwargs: Any) -> None:
    """Tell the open pages of these actions that there is more to read. Never raises."""
    tell_said(case.action for case in cases)


def on_committed(sender: Any, *, changes: list[Changed], **kwargs: Any) -> None:
    """One nudge per queue, one message per environment, whatever the number of actions: one trip. Never raises."""
    queues = [route for name, states in STATES for route in _routes(name, states, changes)]
    if not HANDED_OVER.isdisjoint(c.state for c in changes):
        queues.append("handoff")
    announce(queues, messages(changes))


def _routes(queue: str, states: tuple[str, ...], changes: list[Changed]) -> list[str]:
    """Where to nudge for what is free now: a node's own queue, or everybody's and those that serve its environment."""
    free = [c for c in changes if not c.leased and c.state in states]
    nodes = sorted({c.node for c in free})
    limited = limited_routes(queue, {c.environment_id for c in free if not c.node}) if "" in nodes else []
    return [of_node(queue, node) if node else queue for node in nodes] + limited
