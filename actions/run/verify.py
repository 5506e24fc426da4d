"""
Verify a run: after the last step, and before an irreversible one.

After the last step the target is read again and the action's checks run; then the run completes or rolls back. An
irreversible step starts last, alone, and only after the same checks of everything before it passed.
"""

import time
from collections.abc import Generator
from functools import partial
from typing import Any

from actions.controls.freeze import FREEZE
from actions.lifecycle.context import ActionContext, EffectResult, RunEffect, commit_durably
from actions.lifecycle.prediction_accuracy import measure_run
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action
from actions.preflight.plan import sanitize, sanitize_text
from actions.preflight.step_graph import IRREVERSIBLE
from actions.run.attempt import probe_effect, step_context
from actions.run.simulation import check_untouched
from actions.run.stop import stop_outcome
from actions.types.protocol import Probe
from actions.types.shared.checks import checks_before_irreversible, run_checks
from audit.log.artifacts import ArtifactRows, pack_artifact
from audit.log.canonical_json import canonical

ACTOR = "system:execute"
REPORT_FORMAT = "interlock.verification/1"
LOG_FORMAT = "interlock.log/1"
MAX_DATA_BYTES = 64 * 1024


def verify(context: ActionContext) -> Generator[Transition | RunEffect, Any, None]:
    """Verify and complete an action, with the report attached; a failed check rolls the run back."""
    result: EffectResult = yield RunEffect(partial(verification_report, context))
    if result.error is not None:
        report = {"format": REPORT_FORMAT, "ok": False, "checks": [_crash(result.error)]}
    else:
        report = result.value
    yield from commit_durably(context, lambda: verification_transition(context, report))


def verification_report(context: ActionContext) -> dict[str, Any]:
    """Re-read every step's effect and run the checks, in a thread. Each check: name, ok, detail."""
    started = time.monotonic()
    if context.action.simulated:  # a simulation changed nothing, so there is nothing to verify or check
        return {"format": REPORT_FORMAT, "ok": True, "simulated": True, "checks": [check_untouched(context)]}
    found = [{"kind": "step", **c} for c in context.executor.verify(done_steps(context), context.target)]
    found += run_checks(context.action.checks, context.target, started + context.action.timeout_s)
    found = sanitize(found)
    took_ms = int((time.monotonic() - started) * 1000)
    return {"format": REPORT_FORMAT, "ok": all(c["ok"] for c in found), "checks": found, "duration_ms": took_ms}


def verification_transition(context: ActionContext, report: dict[str, Any]) -> Transition:
    action = context.action
    packs = [_pack(context, report), *log_pack(context)]
    named = tuple(p.digest for p in packs)
    if action.stop_requested_at and action.stop_reason != FREEZE:  # a frozen run changes nothing more
        return _stop_transition(context, packs, report)
    if not report["ok"]:
        bad = ", ".join(c["name"] for c in report["checks"] if not c["ok"])
        error = {"code": "verification_failed", "message": f"Checks failed: {bad}.", "details": {}}
        return _undo_transition(context, error, packs, report)
    result = {"success": True, "data": data_of(context), "error": None, **not_done(context)}
    return Transition(
        action,
        "complete",
        by=ACTOR,
        facts={"checks": len(report["checks"]), **not_done(context)},
        artifacts=named,
        packs=packs,
        sets={"result": result},
        release=True,
        accuracy=accuracy_of(context, report),
    )


def done_steps(context: ActionContext) -> list[dict[str, Any]]:
    """The steps whose effect can be read again: all but skipped and replaced ones."""
    return [s for s in context.steps if context.journal[s["key"]].state == "done"]


def not_done(context: ActionContext) -> dict[str, list[str]]:
    """The keys of steps that a completed run did not do: those skipped after a failure, and all without an effect."""
    skipped = [s["key"] for s in context.steps if context.journal[s["key"]].state == "skipped"]
    left_out = [s["key"] for s in context.steps if context.journal[s["key"]].state != "done"]
    return {"skipped": skipped, "left_out": left_out} if left_out else {}


def _stop_transition(context: ActionContext, packs: list[ArtifactRows], report: dict[str, Any]) -> Transition:
    """Make the transition that the stop request asks for."""
    halt = stop_outcome(context)
    if halt.verb != "roll_back":
        return _undo_transition(context, halt.error, packs, report)
    named = tuple(p.digest for p in packs)
    return Transition(
        context.action, "roll_back", by=ACTOR, facts=halt.facts, sets=halt.sets, packs=packs, artifacts=named
    )


def _undo_transition(
    context: ActionContext, error: dict[str, Any], packs: list[ArtifactRows], report: dict[str, Any]
) -> Transition:
    undo = context.changes_something and bool(context.journal.with_effect(context.steps))
    failing = [c["name"] for c in report["checks"] if not c["ok"]]
    return Transition(
        context.action,
        "roll_back" if undo else "fail",
        by=ACTOR,
        facts={"because": error["code"], "checks": failing, **error["details"]},
        artifacts=tuple(p.digest for p in packs),
        packs=packs,
        release=not undo,
        outcome="ok" if undo else "failed",
        sets={"error": {**error, "details": {**error["details"], "checks": failing}}},
        accuracy=accuracy_of(context, report),
    )


def accuracy_of(context: ActionContext, report: dict[str, Any]) -> dict[str, Any] | None:
    """The prediction accuracy of the run; none for a simulation."""
    return None if context.action.simulated else measure_run(context.plan, context.journal, report)


def log_pack(context: ActionContext) -> list[ArtifactRows]:
    """The step logs as one artifact, if there are any lines."""
    steps = {s["key"]: context.journal[s["key"]].log for s in context.steps if context.journal[s["key"]].log}
    if not steps:
        return []
    body = canonical({"format": LOG_FORMAT, "steps": steps})
    return [pack_artifact(context.action.tenant_id, body, "application/json")]


def data_of(context: ActionContext) -> dict[str, Any]:
    """The facts of each step by key; only the keys if that is too much."""
    data = {s["key"]: context.journal[s["key"]].facts for s in context.steps}
    return data if len(canonical(data)) <= MAX_DATA_BYTES else {"truncated": True, "steps": sorted(data)}


def _pack(context: ActionContext, report: dict[str, Any]) -> ArtifactRows:
    return pack_artifact(context.action.tenant_id, canonical(report), "application/json")


def _crash(error: BaseException) -> dict[str, Any]:
    return {
        "kind": "verify",
        "name": "verify",
        "ok": False,
        "detail": sanitize_text(f"{type(error).__name__}: {error}"),
    }


def duration_s(action: Action) -> float | None:
    """How long a run took, or None while it has not ended."""
    if not (action.started_at and action.completed_at):
        return None
    return (action.completed_at - action.started_at).total_seconds()


# The point of no return.


Step = dict[str, Any]
UNHEALTHY_CODE = "no_return_unhealthy"


def is_irreversible(step: Step) -> bool:
    """Whether a step cannot be undone."""
    return bool(step["compensation"]["kind"] == IRREVERSIBLE)


def startable_steps(context: ActionContext, free: list[Step], running: int) -> list[Step]:
    """Of the ready steps, those that may start: reversible ones first, else one irreversible step that was checked."""
    if context.action.simulated:
        return free
    safe = [s for s in free if not is_irreversible(s)]
    if safe or running:
        return safe
    return [s for s in free[:1] if context.checked_before.get(s["key"], {}).get("ok")]


def check_before_irreversible(context: ActionContext, free: list[Step]) -> Generator[RunEffect, Any, None]:
    """If only irreversible steps are ready, check everything before the first of them. Call while nothing runs."""
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
    """
    Check, in a thread, what an irreversible step depends on: earlier steps, their effects, and the action's checks.
    """
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
    """Whether a step or its fallback is done; a skipped one is not."""
    if context.journal[step["key"]].state == "done":
        return True
    return any(_is_done(context, s) for s in context.steps if s.get("fallback_for") == step["key"])


def _check_effect(context: ActionContext, step: Step, deadline: float) -> dict[str, Any]:
    """Check that the effect of a step is still there: by its probe, or if unknown by its verification."""
    ctx, _ = step_context(context, step, deadline)
    found = probe_effect(context, ctx)
    if found != Probe.UNKNOWN:
        ok = found == Probe.DONE
        return {"name": step["title"], "ok": ok, "detail": "" if ok else "Its effect is gone."}
    rows = context.executor.verify([step], context.target)
    ok = bool(rows) and all(row["ok"] for row in rows)
    return {"name": step["title"], "ok": ok, "detail": "" if ok else "Unknown whether it is still in effect."}


def ancestors(steps: list[Step], step: Step) -> set[str]:
    """All steps that a step depends on, directly or not. Pure."""
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
    """The error of a run that must not pass the point of no return; None if it may."""
    report = context.checked_before.get(free[0]["key"]) if free and not startable_steps(context, free, 0) else None
    if report is None or report["ok"]:
        return None
    bad = [str(c["name"]) for c in report["checks"] if not c["ok"]]
    message = (
        f"{free[0]['title']} cannot be undone, and these checks before it failed: {', '.join(bad)}. It did not start. "
        "Set `before_no_return: false` on a check that can pass only afterwards."
    )
    return {"code": UNHEALTHY_CODE, "message": message, "details": {"step": free[0]["key"], "checks": bad}}


def no_return_notes(context: ActionContext, fresh: list[Step]) -> list[Note]:
    """The event of an irreversible step that may start."""
    return [
        Note(
            "run.point_of_no_return_passed",
            {"step": s["key"], "checks": len(context.checked_before[s["key"]]["checks"])},
        )
        for s in fresh
        if s["key"] in context.checked_before
    ]
