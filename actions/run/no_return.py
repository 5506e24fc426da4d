"""
The point of no return: an irreversible step begins last, alone, and only while everything before it is well.

What can be undone goes first, wherever the plan's order allows; then what was done is looked at again, and the
action's checks are run. If anything is amiss the step does not begin, and the run goes back while it still can.
"""

import time
from collections.abc import Generator
from functools import partial
from typing import Any

from actions.case import Case, Effect, Result
from actions.checks import before_no_return, run_checks
from actions.lifecycle import Note
from actions.preflight.way_back import FINAL
from actions.run.attempt import context, probed
from actions.storable import storable, text_of
from actions.types.protocol import Probe

Step = dict[str, Any]
CODE = "no_return_unhealthy"


def is_final(step: Step) -> bool:
    """Whether a step cannot be undone."""
    return bool(step["compensation"]["kind"] == FINAL)


def may_begin(case: Case, free: list[Step], flying: int) -> list[Step]:
    """Of the steps whose turn it is, those that may begin: what can be undone, or else the one that was let through."""
    if case.action.simulated:
        return free
    safe = [s for s in free if not is_final(s)]
    if safe or flying:
        return safe
    return [s for s in free[:1] if case.looked_back.get(s["key"], {}).get("ok")]


def look_back(case: Case, free: list[Step]) -> Generator[Effect, Any, None]:
    """With nothing else to do before an irreversible step: look at what is before it. Call while nothing runs."""
    if not free or case.action.simulated or not all(is_final(s) for s in free) or free[0]["key"] in case.looked_back:
        return
    result: Result = yield Effect(partial(report_before, case, free[0]))
    failed = {"ok": False, "checks": [{"name": "look back", "ok": False, "detail": text_of(str(result.error))}]}
    case.looked_back[free[0]["key"]] = result.value if result.error is None else failed


def report_before(case: Case, step: Step) -> dict[str, Any]:
    """Whether all is well before a step, in a thread: what it comes after, what was done, and the action's checks."""
    deadline = time.monotonic() + case.action.timeout_s
    before = ancestors(case.steps, step)
    found = [
        {"name": s["title"], "ok": False, "detail": f"It is {case.ledger[s['key']].state.replace('_', ' ')}, not done."}
        for s in case.steps
        if s["key"] in before and not _is_done(case, s)
    ]
    found += [_stands(case, s, deadline) for s in case.steps if case.ledger[s["key"]].state == "done"]
    found += run_checks(before_no_return(case.action.checks), case.target, deadline)
    found = storable(found)
    return {"ok": all(c["ok"] for c in found), "checks": found}


def _is_done(case: Case, step: Step) -> bool:
    """Whether a step, or the one that stood in for it, is done; one that was left out is not."""
    if case.ledger[step["key"]].state == "done":
        return True
    return any(_is_done(case, s) for s in case.steps if s.get("fallback_for") == step["key"])


def _stands(case: Case, step: Step, deadline: float) -> dict[str, Any]:
    """Whether what a step did is still there: by its probe, or where that cannot tell by its verification."""
    ctx, _ = context(case, step, deadline)
    found = probed(case, ctx)
    if found != Probe.UNKNOWN:
        ok = found == Probe.DONE
        return {"name": step["title"], "ok": ok, "detail": "" if ok else "What it did is gone."}
    rows = case.executor.verify([step], case.target)
    ok = bool(rows) and all(row["ok"] for row in rows)
    return {"name": step["title"], "ok": ok, "detail": "" if ok else "It cannot be told whether it still stands."}


def ancestors(steps: list[Step], step: Step) -> set[str]:
    """All that a step comes after, directly or not. Pure."""
    by_key = {s["key"]: s for s in steps}
    found: set[str] = set()
    left = list(step.get("after") or ())
    while left:
        key = left.pop()
        if key not in found and key in by_key:
            found.add(key)
            left += by_key[key].get("after") or ()
    return found


def turned_away(case: Case, free: list[Step]) -> dict[str, Any] | None:
    """The error of a run that must not pass its point of no return; None while it may."""
    report = case.looked_back.get(free[0]["key"]) if free and not may_begin(case, free, 0) else None
    if report is None or report["ok"]:
        return None
    bad = [str(c["name"]) for c in report["checks"] if not c["ok"]]
    message = (
        f"{free[0]['title']} cannot be undone, and before it these do not hold: {', '.join(bad)}. It was not begun. "
        "A check that can only hold afterwards says so with `before_no_return: false`."
    )
    return {"code": CODE, "message": message, "details": {"step": free[0]["key"], "checks": bad}}


def passed_notes(case: Case, fresh: list[Step]) -> list[Note]:
    """The event of a step that is let through its point of no return."""
    return [
        Note("run.no_return_passed", {"step": s["key"], "checks": len(case.looked_back[s["key"]]["checks"])})
        for s in fresh
        if s["key"] in case.looked_back
    ]
