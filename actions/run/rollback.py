"""
Steps backward: each compensation has its own intent and receipt, in the order that was approved with the plan.

All or nothing: an undo that fails stops the way back and holds the action. Best effort: the others are undone too, and
what is left is named. What would not be undone is put in quarantine. At the end the state before is read again, and
only if it is back does the action end rolled back; a report of what was found is attached.
"""

import time
from collections.abc import Generator
from functools import partial
from typing import Any

from actions.case import Case, Effect, Result, durably
from actions.impact import measured
from actions.lifecycle import Note, Write
from actions.models import Checkpoint, Quarantine
from actions.preflight.way_back import UNDOABLE, in_order_of_undoing
from actions.quarantine import in_words, left_behind, set_note, told, touched
from actions.run.attempt import Tried, context
from actions.run.claims import claims_of
from actions.run.lines import failure, failure_note, intent, kept, line, receipt_note
from actions.run.read_back import Report, read_back, reset_lines, scope
from actions.run.verify import log_pack
from actions.scheduling.standing import SWITCH
from actions.types.protocol import Outcome, Probe
from audit.log.artifacts import ArtifactRows, pack_artifact
from audit.log.canonical_json import canonical

BY = "system:execute"
K = Checkpoint.Kind
UNDO_FAILED = "undo_failed"
Step = dict[str, Any]


def roll_back(case: Case) -> Generator[Write | Effect, Any, None]:
    """
    Undo every effect the ledger knows of, or those after the checkpoint that a person named.

    Ends rolled_back, failed where something remains, or held: at the checkpoint, or with what would not be undone.
    """
    if not case.has_claims and touched(case.action, case.facts.get("resources", []), case.quarantines):
        yield from durably(case, partial(_shut_out, case))
        return
    if not case.has_claims and claims_of(case):
        claimed = yield from durably(case, partial(_claimed, case))
        if claimed.is_blocked:
            return
    images = case.before_images(case.action.pk)
    for step in in_order_of_undoing(case.ledger.with_effect(scope(case)), case.plan.rollback):
        if step["compensation"]["kind"] not in UNDOABLE:
            continue
        resumed = case.ledger[step["key"]].state == "undoing" and step["key"] in case.found_open
        if not resumed:
            yield from durably(case, partial(_begin, case, step))
            if case.action.state != "rolling_back":
                return
        result: Result = yield Effect(partial(undo_step, case, step, images, resumed))
        tried: Tried = result.value if result.error is None else crashed(result.error)
        yield from durably(case, partial(_after, case, step, tried))
        if case.action.state != "rolling_back":
            return
    found: Result = yield Effect(partial(read_back, case, images))
    report = found.value if found.error is None else Report.unread(case, found.error)
    yield from durably(case, partial(_finish, case, report))


def undo_step(case: Case, step: Step, images: dict[str, bytes], resumed: bool) -> Tried:
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


def is_best_effort(case: Case) -> bool:
    """Whether an undo that fails is left behind. Never on the way to a checkpoint, from which the run may go on."""
    return bool(case.plan.rollback.get("mode") == "best-effort") and not case.action.rollback_to


def newly_shut(case: Case, steps: list[Step]) -> list[Quarantine]:
    """The quarantines of what these steps touched, but for what was in quarantine when the action was taken up."""
    found = left_behind(case.action, case.facts.get("resources", []), steps, UNDO_FAILED)
    return [q for q in found if q.key not in case.quarantines]


def _claimed(case: Case) -> Write:
    """Take the resources back that the end of the run let go of."""
    return Write(case.action, by=BY, notes=[Note("rollback.begun")], claims=claims_of(case))


def _shut_out(case: Case) -> Write:
    """Somebody else has put in quarantine what would have to be touched: a person clears that first."""
    shut = touched(case.action, case.facts.get("resources", []), case.quarantines)
    error = {"code": "quarantined", "message": in_words(shut), "details": {"quarantines": told(shut)}}
    return Write(
        case.action,
        "hold",
        by=BY,
        facts={"reason": "quarantine", "quarantines": [str(q.pk) for q in shut]},
        sets={"held_reason": "quarantine", "error": error},
        release=True,
    )


def _begin(case: Case, step: Step) -> Write:
    """The undo of a step begins, unless the switch of the environment is set."""
    if case.action.stop_why == SWITCH:
        facts = {"reason": SWITCH, "step": step["key"]}
        return Write(case.action, "hold", by=BY, facts=facts, sets={"held_reason": SWITCH}, release=True)
    begun = Note("step.undo_begun", {"step": step["key"]})
    return Write(case.action, by=BY, notes=[begun], checkpoints=[intent(case, step, K.UNDO_INTENT)])


def _after(case: Case, step: Step, tried: Tried) -> Write:
    if tried.outcome.ok:
        attempt = case.ledger[step["key"]].undo_attempt
        receipt = line(case, step, K.UNDO_RECEIPT, attempt, facts=tried.outcome.facts, **kept(tried))
        return Write(
            case.action,
            by=BY,
            notes=[receipt_note(step, receipt, tried, "step.undone")],
            checkpoints=[receipt],
            sets={"steps_done": max(0, case.action.steps_done - 1)},
        )
    failed = failure(case, step, tried, K.UNDO_FAILURE)
    shut = newly_shut(case, [step])
    w = Write(
        case.action,
        by=BY,
        notes=[failure_note(step, failed, tried, "step.undo_failed"), *set_note(shut)],
        checkpoints=[failed],
        quarantines=shut,
    )
    if not is_best_effort(case):
        w.verb, w.release = "hold", True
        w.facts, w.sets = {"reason": "rollback_failed", "step": step["key"]}, {"held_reason": "rollback_failed"}
    return w


def _finish(case: Case, report: Report) -> Write:
    """The end of a way back, with the report of what was found when the state before was read again."""
    packs = [*report_pack(case, report), *log_pack(case)]
    named = tuple(p.digest for p in packs)
    shut = newly_shut(case, report.not_back)
    notes = set_note(shut)
    if report.not_back and not is_best_effort(case):
        facts = {"reason": "rollback_failed", "step": report.not_back[0]["key"], "checks": report.failing}
        return Write(
            case.action,
            "hold",
            by=BY,
            facts=facts,
            notes=notes,
            quarantines=shut,
            packs=packs,
            artifacts=named,
            sets={"held_reason": "rollback_failed"},
            release=True,
        )
    if case.action.rollback_to:
        facts = {"reason": "checkpoint", "back_to": case.action.rollback_to, "remains": report.remains}
        return Write(
            case.action,
            "hold",
            by=BY,
            facts=facts,
            notes=notes,
            checkpoints=reset_lines(case),
            packs=packs,
            artifacts=named,
            sets={"held_reason": "checkpoint", "rollback_to": ""},
            release=True,
        )
    return _ended(case, report, packs, shut, notes)


def _ended(case: Case, report: Report, packs: list[ArtifactRows], shut: list[Quarantine], notes: list[Note]) -> Write:
    """rolled_back, or failed where something remains: what cannot be undone, or would not be."""
    error = case.action.error or {"code": "rolled_back", "message": "A person rolled the run back.", "details": {}}
    facts: dict[str, Any] = {}
    if report.remains:
        facts = {"remains": report.remains, "quarantined": report.quarantined}
        error = {**error, "details": {**error.get("details", {}), **facts}}
    result = {"success": False, "data": None, "error": error}
    return Write(
        case.action,
        "fail" if report.remains else "finish_rollback",
        by=BY,
        facts=facts,
        notes=notes,
        packs=packs,
        quarantines=shut,
        artifacts=tuple(p.digest for p in packs),
        sets={"result": result, "error": error, "rollback_to": ""},
        release=True,
        impact=measured(case.plan, case.ledger),
    )


def report_pack(case: Case, report: Report) -> list[ArtifactRows]:
    return [pack_artifact(case.action.tenant_id, canonical(report.document(case)), "application/json")]
