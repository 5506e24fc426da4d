"""The order of a plan's steps, forward and in a rollback."""

from collections.abc import Mapping, Sequence
from typing import Any

from actions.types.protocol import Draft, PlanRefused, error

Step = dict[str, Any]


def order_steps(draft: Draft) -> list[Step]:
    """
    The steps of a draft in order, each naming those that it depends on.

    A fallback step (`fallback_for`) comes after its step and before everything that depends on that. Raises PlanRefused
    if there is no such order.
    """
    _refuse_bad_fallbacks(draft.steps)
    steps = _as_listed(draft.steps) if draft.order == "listed" else _without_themselves(draft.steps)
    known = {s["key"] for s in steps}
    for s in steps:
        strangers = sorted(set(s.get("after") or ()) - known)
        if strangers:
            raise PlanRefused(
                [error(f"Step {s['key']} comes after {', '.join(strangers)}, which the plan does not have.")]
            )
    before = {s["key"]: _before(s, steps) for s in steps}
    found: list[Step] = []
    done: set[str] = set()
    while left := [s for s in steps if s["key"] not in done]:
        free = [s for s in left if before[s["key"]] <= done]
        if not free:
            raise PlanRefused([error(f"These steps wait for one another: {', '.join(s['key'] for s in left)}.")])
        found += [{**s, "after": list(s.get("after") or [])} for s in free]
        done |= {s["key"] for s in free}
    return found


def _as_listed(steps: list[Step]) -> list[Step]:
    """Sequential; a fallback step comes after the same step as the step that it replaces."""
    after: dict[str, list[str]] = {}
    last: list[str] = []
    for s in steps:
        if s.get("fallback_for"):
            after[s["key"]] = after.get(s["fallback_for"], [])
        else:
            after[s["key"]], last = last, [s["key"]]
    return [{**s, "after": after[s["key"]]} for s in steps]


def _without_themselves(steps: list[Step]) -> list[Step]:
    """Remove the dependency of a fallback step on the step that it replaces."""
    stands_for: dict[str, set[str]] = {}
    for s in steps:
        if s.get("fallback_for"):
            stands_for[s["key"]] = {s["fallback_for"], *stands_for.get(s["fallback_for"], set())}
    return [
        {**s, "after": [k for k in s.get("after") or () if k not in stands_for[s["key"]]]}
        if s["key"] in stands_for
        else s
        for s in steps
    ]


def _before(step: Step, steps: list[Step]) -> set[str]:
    """The keys of all steps that must come before a step: its dependencies and their fallback steps."""
    after = set(step.get("after") or ())
    found = {*after, *([step["fallback_for"]] if step.get("fallback_for") else [])}
    for other in steps:
        if other.get("fallback_for") in after:
            found |= {other["key"], *_stand_ins(other["key"], steps)}
    return found - {step["key"]}


def _stand_ins(key: str, steps: list[Step]) -> set[str]:
    found = {s["key"] for s in steps if s.get("fallback_for") == key}
    return found.union(*(_stand_ins(k, steps) for k in found)) if found else found


def _refuse_bad_fallbacks(steps: list[Step]) -> None:
    stand_ins = [s for s in steps if s.get("fallback_for")]
    known: set[str] = set()
    for s in steps:
        if s.get("fallback_for") and s["fallback_for"] not in known:
            raise PlanRefused(
                [error(f"Step {s['key']} is the fallback of {s['fallback_for']}, which does not come before it.")]
            )
        known.add(s["key"])
    named = [s["fallback_for"] for s in stand_ins]
    if twice := sorted({key for key in named if named.count(key) > 1}):
        raise PlanRefused([error(f"More than one fallback step for {', '.join(twice)}.")])
    keys = {s["key"] for s in stand_ins}
    for s in steps:
        if wrong := sorted(keys & set(s.get("after") or ())):
            words = f"Step {s['key']} comes after {', '.join(wrong)}, a fallback step: name the step that it replaces."
            raise PlanRefused([error(words)])


# The rollback plan: what is undone in which order, and the point of no return.


DEFAULT_ROLLBACK = {"order": "reverse", "mode": "all-or-nothing"}
UNDOABLE = ("reversible", "lossy")
IRREVERSIBLE = "irreversible"


PlanStep = Mapping[str, Any]


def build_rollback_plan(
    steps: Sequence[PlanStep], of_type: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """
    The rollback plan of ordered steps: {"order", "mode", "steps", "no_return"}. Pure.

    `asked` is the submission's choice, which precedes that of its type. "steps" are {"step", "kind", "title"} of
    reversible steps, in the order of undoing; reverse goes back through the graph. "no_return" are the keys of the
    first irreversible steps: none of them depends on another.
    """
    chosen = {name: asked.get(name) or of_type.get(name) or DEFAULT_ROLLBACK[name] for name in DEFAULT_ROLLBACK}
    undo = [
        {"step": s["key"], "kind": s["compensation"]["kind"], "title": s["compensation"].get("title", "")}
        for s in steps
        if s["compensation"]["kind"] in UNDOABLE
    ]
    return {
        **chosen,
        "steps": undo[::-1] if chosen["order"] == "reverse" else undo,
        "no_return": points_of_no_return(steps),
    }


def points_of_no_return(steps: Sequence[PlanStep]) -> list[str]:
    """The first irreversible steps, in the plan's order."""
    beyond: set[str] = set()
    first = []
    for s in steps:
        is_beyond = bool(beyond & set(s.get("after") or ()))
        if s["compensation"]["kind"] == IRREVERSIBLE and not is_beyond:
            first.append(s["key"])
        if is_beyond or s["compensation"]["kind"] == IRREVERSIBLE:
            beyond.add(s["key"])
    return first


def undo_order(steps: Sequence[dict[str, Any]], plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """These steps in the order in which the rollback plan undoes them."""
    return list(steps) if plan.get("order") == "forward" else list(reversed(steps))
