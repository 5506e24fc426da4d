"""
The point of no return: an irreversible step begins last, alone, and only while everything before it is well.

What can be undone goes first, wherever the plan's order allows; then what was done is looked at again, and the
action's checks are run. If anything is amiss the step does not begin, and the run goes back while it still can.
"""

import time
from collections.abc import Generator
from functools import partial
from typing import Any

from actions.lifecycle.context import ActionContext, EffectResult, RunEffect
from actions.lifecycle.transitions import Note
from actions.preflight.sanitize import sanitize, sanitize_text
from actions.preflight.step_graph import IRREVERSIBLE
from actions.run.attempt import probe_effect, step_context
from actions.types.protocol import Probe
from actions.types.shared.checks import checks_before_irreversible, run_checks

Step = dict[str, Any]
UNHEALTHY_CODE = "no_return_unhealthy"


def is_irreversible(step: Step) -> bool:
    """Whether a step cannot be undone."""
    return bool(step["compensation"]["kind"] == IRREVERSIBLE)


def startable_steps(context: ActionContext, free: list[Step], running: int) -> list[Step]:
    """Of the steps whose turn it is, those that may begin: what can be undone, or else the one that was let through."""
    if context.action.simulated:
        return free
    safe = [s for s in free if not is_irreversible(s)]
    if safe or running:
        return safe
    return [s for s in free[:1] if context.checked_before.get(s["key"], {}).get("ok")]


def check_before_irreversible(context: ActionContext, free: list[Step]) -> Generator[RunEffect, Any, None]:
    """With nothing else to do before an irreversible step: look at what is before it. Call while nothing runs."""
    if (
        not free
        or context.action.simulated
        or not all(is_irreversible(s) for s in free)
        or free[0]["key"] in context.checked_before
    ):
        return
    result: EffectResult = yield RunEffect(partial(readiness_report, context, free[0]))
    failed = {"ok": False, "checks": [{"name": "look back", "ok": False, "detail": sanitize_text(str(result.error))}]}
    context.checked_before[free[0]["key"]] = result.value if result.error is None else failed


def readiness_report(context: ActionContext, step: Step) -> dict[str, Any]:
    """Whether all is well before a step, in a thread: what it comes after, what was done, and the action's checks."""
    deadline = time.monotonic() + context.action.timeout_s
    before = ancestors(context.steps, step)
    found = [
        {
            "name": s["title"],
            "ok": False,
            "detail": f"It is {context.journal[s['key']].state.replace('_', ' ')}, not done.",
        }
        for s in context.steps
        if s["key"] in before and not _is_done(context, s)
    ]
    found += [_check_effect(context, s, deadline) for s in context.steps if context.journal[s["key"]].state == "done"]
    found += run_checks(checks_before_irreversible(context.action.checks), context.target, deadline)
    found = sanitize(found)
    return {"ok": all(c["ok"] for c in found), "checks": found}


def _is_done(context: ActionContext, step: Step) -> bool:
    """Whether a step, or the one that stood in for it, is done; one that was left out is not."""
    if context.journal[step["key"]].state == "done":
        return True
    return any(_is_done(context, s) for s in context.steps if s.get("fallback_for") == step["key"])


def _check_effect(context: ActionContext, step: Step, deadline: float) -> dict[str, Any]:
    """Whether what a step did is still there: by its probe, or where that cannot tell by its verification."""
    ctx, _ = step_context(context, step, deadline)
    found = probe_effect(context, ctx)
    if found != Probe.UNKNOWN:
        ok = found == Probe.DONE
        return {"name": step["title"], "ok": ok, "detail": "" if ok else "What it did is gone."}
    rows = context.executor.verify([step], context.target)
    ok = bool(rows) and all(row["ok"] for row in rows)
    return {"name": step["title"], "ok": ok, "detail": "" if ok else "Unknown whether it is still in effect."}


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


def unhealthy_error(context: ActionContext, free: list[Step]) -> dict[str, Any] | None:
    """The error of a run that must not pass its point of no return; None while it may."""
    report = context.checked_before.get(free[0]["key"]) if free and not startable_steps(context, free, 0) else None
    if report is None or report["ok"]:
        return None
    bad = [str(c["name"]) for c in report["checks"] if not c["ok"]]
    message = (
        f"{free[0]['title']} cannot be undone, and these checks before it failed: {', '.join(bad)}. It was not begun. "
        "A check that can only hold afterwards says so with `before_no_return: false`."
    )
    return {"code": UNHEALTHY_CODE, "message": message, "details": {"step": free[0]["key"], "checks": bad}}


def no_return_notes(context: ActionContext, fresh: list[Step]) -> list[Note]:
    """The event of a step that is let through its point of no return."""
    return [
        Note(
            "run.point_of_no_return_passed",
            {"step": s["key"], "checks": len(context.checked_before[s["key"]]["checks"])},
        )
        for s in fresh
        if s["key"] in context.checked_before
    ]
