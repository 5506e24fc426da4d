"""
The way back, worked out with the plan: what is undone in which order, and from where on not everything can be.

Part of the plan's digest, so that people approve it together with what it would undo.
"""

from collections.abc import Mapping, Sequence
from typing import Any

ORDERS = ("reverse", "forward")
MODES = ("all-or-nothing", "best-effort")
USUAL = {"order": "reverse", "mode": "all-or-nothing"}
UNDOABLE = ("reversible", "lossy")
FINAL = "irreversible"


Step = Mapping[str, Any]


def way_back(steps: Sequence[Step], of_type: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """
    The rollback plan of steps that stand in their order: {"order", "mode", "steps", "no_return"}. Pure.

    `asked` is the submission's choice, which goes before that of its type. "steps" are {"step", "kind", "title"} of
    what can be undone, in the order of undoing; reverse is back through the graph, since steps stand behind what they
    come after. "no_return" are the keys of the first steps that cannot be undone: none comes after another such.
    """
    chosen = {name: asked.get(name) or of_type.get(name) or USUAL[name] for name in USUAL}
    undo = [
        {"step": s["key"], "kind": s["compensation"]["kind"], "title": s["compensation"].get("title", "")}
        for s in steps
        if s["compensation"]["kind"] in UNDOABLE
    ]
    return {**chosen, "steps": undo[::-1] if chosen["order"] == "reverse" else undo, "no_return": no_return(steps)}


def no_return(steps: Sequence[Step]) -> list[str]:
    """The first irreversible steps, in the plan's order."""
    beyond: set[str] = set()
    first = []
    for s in steps:
        is_beyond = bool(beyond & set(s.get("after") or ()))
        if s["compensation"]["kind"] == FINAL and not is_beyond:
            first.append(s["key"])
        if is_beyond or s["compensation"]["kind"] == FINAL:
            beyond.add(s["key"])
    return first


def in_order_of_undoing(steps: Sequence[dict[str, Any]], plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """These steps as the rollback plan has them undone; plans of before there was one go backward."""
    return list(steps) if plan.get("order") == "forward" else list(reversed(steps))
