"""Steps backward: each compensation has its own intent and receipt, in reverse order, and is probed at the end."""

import time
from collections.abc import Generator
from functools import partial
from typing import Any

from actions.case import Case, Effect, Result, durably
from actions.impact import measured
from actions.lifecycle import Note, Write
from actions.models import Checkpoint
from actions.run.attempt import Tried, context
from actions.run.claims import claims_of
from actions.run.lines import failure, failure_note, intent, line, receipt_note
from actions.run.verify import log_pack
from actions.types.protocol import Outcome, Probe

BY = "system:execute"
K = Checkpoint.Kind


def roll_back(case: Case) -> Generator[Write | Effect, Any, None]:
    """Undo every effect the ledger knows of; ends rolled_back, or held with the step that would not be undone."""
    if not case.has_claims and claims_of(case):
        claimed = yield from durably(case, partial(_claimed, case))
        if claimed.is_blocked:
            return
    images = case.before_images(case.action.pk)
    for step in case.ledger.with_effect(case.steps):
        if step["compensation"]["kind"] in ("irreversible", "none"):
            continue
        resumed = case.ledger[step["key"]].state == "undoing" and step["key"] in case.found_open
        if not resumed:
            yield from durably(case, partial(_begin, case, step))
        result: Result = yield Effect(partial(undo_step, case, step, images, resumed))
        tried: Tried = result.value if result.error is None else crashed(result.error)
        yield from durably(case, partial(_after, case, step, tried))
        if not tried.outcome.ok:
            return
    yield from durably(case, partial(_finish, case))


def undo_step(case: Case, step: dict[str, Any], images: dict[str, bytes], resumed: bool) -> Tried:
    """Compensate one step, in a thread, unless a probe says that it is undone already."""
    ctx, log = context(case, step, time.monotonic() + case.action.timeout_s, images)
    try:
        if resumed and case.executor.probe_undo(ctx) == Probe.DONE:
            return Tried(Outcome(True, "recovered"), Probe.DONE, log)
        outcome = case.executor.compensate(ctx)
        found = case.executor.probe_undo(ctx)
    except Exception as exc:  # an executor is third-party code: whatever it raises is this step's outcome
        return Tried(Outcome(False, "executor_error", f"{type(exc).__name__}: {exc}"), Probe.UNKNOWN, log)
    if outcome.ok and found != Probe.DONE:
        outcome = Outcome(False, "undo_not_verified", "The compensation ran, but the state before is not back.")
    return Tried(outcome, found, log)


def crashed(error: BaseException) -> Tried:
    return Tried(Outcome(False, "executor_error", f"{type(error).__name__}: {error}"), Probe.UNKNOWN)


def _claimed(case: Case) -> Write:
    """Take the resources back that the end of the run let go of."""
    return Write(case.action, by=BY, notes=[Note("rollback.begun")], claims=claims_of(case))


def _begin(case: Case, step: dict[str, Any]) -> Write:
    begun = Note("step.undo_begun", {"step": step["key"]})
    return Write(case.action, by=BY, notes=[begun], checkpoints=[intent(case, step, K.UNDO_INTENT)])


def _after(case: Case, step: dict[str, Any], tried: Tried) -> Write:
    if tried.outcome.ok:
        attempt = case.ledger[step["key"]].undo_attempt
        receipt = line(case, step, K.UNDO_RECEIPT, attempt, facts=tried.outcome.facts, log="\n".join(tried.log))
        return Write(
            case.action, by=BY, notes=[receipt_note(step, receipt, tried, "step.undone")], checkpoints=[receipt],
            sets={"steps_done": max(0, case.action.steps_done - 1)},
        )  # fmt: skip
    failed = failure(case, step, tried, K.UNDO_FAILURE)
    return Write(
        case.action, "hold", by=BY, facts={"reason": "rollback_failed", "step": step["key"]},
        notes=[failure_note(step, failed, tried, "step.undo_failed")], checkpoints=[failed],
        sets={"held_reason": "rollback_failed"}, release=True,
    )  # fmt: skip


def _finish(case: Case) -> Write:
    """The end of a rollback: rolled_back, or failed where something irreversible remains."""
    packs = log_pack(case)
    remains = [s["key"] for s in case.ledger.with_effect(case.steps)]
    error = case.action.error or {"code": "rolled_back", "message": "A person rolled the run back.", "details": {}}
    verb = "fail" if remains else "finish_rollback"
    result = {"success": False, "data": None, "error": error}
    return Write(
        case.action, verb, by=BY, facts={"remains": remains} if remains else {}, packs=packs,
        artifacts=tuple(p.digest for p in packs), sets={"result": result, "error": error}, release=True,
        impact=measured(case.plan, case.ledger),
    )  # fmt: skip
