"""The order of a plan's steps: what an executor lists becomes a graph that the runner can follow."""

from typing import Any

from actions.types.protocol import Draft, PlanRefused, error


def in_order(draft: Draft) -> list[dict[str, Any]]:
    """The steps of a draft, each naming those that it comes after and standing behind them.

    Raises PlanRefused where that is no order.
    """
    keys = [s["key"] for s in draft.steps]
    if draft.order == "listed":
        return [{**s, "after": keys[n - 1 : n] if n else []} for n, s in enumerate(draft.steps)]
    known = set(keys)
    for s in draft.steps:
        strangers = sorted(set(s.get("after") or ()) - known)
        if strangers:
            raise PlanRefused([error(f"Step {s['key']} comes after {', '.join(strangers)}, which the plan lacks.")])
    found: list[dict[str, Any]] = []
    done: set[str] = set()
    while left := [s for s in draft.steps if s["key"] not in done]:
        free = [s for s in left if set(s.get("after") or ()) <= done]
        if not free:
            raise PlanRefused([error(f"These steps wait for one another: {', '.join(s['key'] for s in left)}.")])
        found += [{**s, "after": list(s.get("after") or [])} for s in free]
        done |= {s["key"] for s in free}
    return found
