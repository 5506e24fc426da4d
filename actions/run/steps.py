"""Steps forward: intent → effect → receipt, one at a time, obeying a stop at every checkpoint."""

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actions.case import Case, Effect, Result, durably
from actions.lifecycle import Note, Write
from actions.models import Checkpoint
from actions.types.protocol import Outcome, Probe, StepContext

BY = "system:execute"
K = Checkpoint.Kind
MOST_ATTEMPTS = 3
MOST_LOG_LINES = 2_000


@dataclass
class Tried:
    """What one attempt left: the outcome, what a probe says of the effect where it matters, and the log."""

    outcome: Outcome
    probe: Probe | None = None
    log: list[str] = field(default_factory=list)


def intent(case: Case, step: dict[str, Any], kind: K = K.INTENT) -> Checkpoint:
    record = case.ledger[step["key"]]
    attempt = (record.attempt if kind == K.INTENT else record.undo_attempt) + 1
    return line(case, step, kind, attempt)


def line(case: Case, step: dict[str, Any], kind: K, attempt: int, **more: Any) -> Checkpoint:
    return Checkpoint(
        action_id=case.action.pk, plan_id=case.action.plan_id, step=step["key"], attempt=attempt, kind=kind,
        lease=case.lease, **more,
    )  # fmt: skip


def run_steps(case: Case, deadline: float) -> Generator[Write | Effect, Any, None]:
    """Carry out what the ledger says is not done, from intent to receipt; ends in verifying, or somewhere safe."""
    steps = case.steps
    for n, step in enumerate(steps):
        record = case.ledger[step["key"]]
        if record.state == "done":
            continue
        resumed = record.state == "open" and step["key"] in case.found_open
        if record.state != "open":
            if case.action.stop_requested_at:
                yield from durably(case, lambda: stopped(case, []))
                return
            yield from durably(case, partial(_begin, case, step))
        tried = yield from _attempt(case, step, deadline, resumed=resumed)
        while not tried.outcome.ok and _worth_another_try(case, step, tried, deadline):
            yield from durably(case, partial(_again, case, step, tried))
            tried = yield from _attempt(case, step, deadline, resumed=False, pause=True)
        following = steps[n + 1] if n + 1 < len(steps) else None
        yield from durably(case, partial(_after, case, step, following, tried))
        if case.action.state != "in_progress" or not tried.outcome.ok:
            return
    if case.action.state == "in_progress":
        yield from durably(case, partial(_all_done, case))


def _attempt(
    case: Case, step: dict[str, Any], deadline: float, *, resumed: bool, pause: bool = False
) -> Generator[Effect, Any, Tried]:
    attempt = case.ledger[step["key"]].attempt
    result: Result = yield Effect(partial(attempt_step, case, step, deadline, resumed, attempt if pause else 0))
    if result.error is not None:
        raise result.error
    return result.value  # type: ignore[no-any-return]


def attempt_step(case: Case, step: dict[str, Any], deadline: float, resumed: bool, tries_before: int) -> Tried:
    """
    One attempt, in a thread. After a crash (`resumed`) it asks `probe` first and applies only what is not done.

    Backs off 0.2 s × 2ⁿ before a retry. An executor's exception is an outcome: `executor_error`, settled by a probe.
    """
    ctx, log = context(case, step, deadline)
    executor = case.executor
    if tries_before > 1:
        time.sleep(min(5.0, 0.2 * 2 ** (tries_before - 2)))
    try:
        if resumed:
            found = executor.probe(ctx)
            if found == Probe.DONE:
                log.append("The effect was already there when the run was taken up again.")
                return Tried(Outcome(True, "recovered", facts={"recovered": True}), found, log)
            if found == Probe.UNKNOWN:
                return Tried(Outcome(False, "in_doubt", "It cannot be told whether the step is done."), found, log)
        if time.monotonic() > deadline:
            return Tried(Outcome(False, "timeout", "The action's time ran out before this step."), Probe.NOT_DONE, log)
        outcome = executor.apply(ctx)
    except Exception as exc:  # an executor is third-party code: whatever it raises is this step's outcome
        outcome = Outcome(False, "executor_error", f"{type(exc).__name__}: {exc}")
    return Tried(outcome, None if outcome.ok else probed(case, ctx), log)


def probed(case: Case, ctx: StepContext) -> Probe:
    try:
        return case.executor.probe(ctx)
    except Exception as exc:  # a probe that fails cannot tell
        ctx.log(f"The probe failed: {type(exc).__name__}: {exc}")
        return Probe.UNKNOWN


def context(
    case: Case, step: dict[str, Any], deadline: float, images: dict[str, bytes] | None = None
) -> tuple[StepContext, list[str]]:
    """What the executor is given for one attempt, and the list its log lines go to."""
    log: list[str] = []

    def note(text: str) -> None:
        if len(log) < MOST_LOG_LINES:
            log.append(" ".join(str(text).splitlines())[:2_000])

    ctx = StepContext(
        target=case.target,
        step=step,
        parameters=case.action.parameters,
        idempotency_key=step["idempotency_key"],
        before_image=lambda: (images or {}).get(step["key"]),
        undone=case.undone.get,
        log=note,
        deadline=deadline,
        stopping=lambda: case.action.stop_requested_at is not None,
    )
    return ctx, log


def _worth_another_try(case: Case, step: dict[str, Any], tried: Tried, deadline: float) -> bool:
    return (
        tried.outcome.retryable
        and tried.probe == Probe.NOT_DONE
        and case.ledger[step["key"]].attempt < MOST_ATTEMPTS
        and not case.action.stop_requested_at
        and time.monotonic() < deadline
    )


def _begin(case: Case, step: dict[str, Any]) -> Write:
    """An intent on its own: the first one of a run that was taken up again between two steps."""
    if case.action.stop_requested_at:
        return stopped(case, [])
    return Write(
        case.action, by=BY, notes=[Note("step.begun", {"step": step["key"]})], checkpoints=[intent(case, step)]
    )


def _again(case: Case, step: dict[str, Any], tried: Tried) -> Write:
    failed = failure(case, step, tried)
    again = line(case, step, K.INTENT, failed.attempt + 1)
    return Write(case.action, by=BY, notes=[failure_note(step, failed, tried)], checkpoints=[failed, again])


def _after(case: Case, step: dict[str, Any], following: dict[str, Any] | None, tried: Tried) -> Write:
    """What an attempt makes durable: its receipt and the next intent, or its failure and where that leads."""
    if not tried.outcome.ok:
        return broken_off(case, step, tried)
    attempt = case.ledger[step["key"]].attempt
    receipt = line(case, step, K.RECEIPT, attempt, facts=tried.outcome.facts, log="\n".join(tried.log))
    notes = [receipt_note(step, receipt, tried)]
    done = case.ledger.done() + 1
    if case.action.stop_requested_at:
        w = stopped(case, notes)
        w.checkpoints, w.sets = [receipt], {**w.sets, "steps_done": done}
        return w
    if following is None:
        return Write(
            case.action, "verify", by=BY, notes=notes, checkpoints=[receipt], sets={"steps_done": done},
        )  # fmt: skip
    lines = [receipt, intent(case, following)]
    return Write(case.action, by=BY, notes=notes, checkpoints=lines, sets={"steps_done": done})


def _all_done(case: Case) -> Write:
    return stopped(case, []) if case.action.stop_requested_at else Write(case.action, "verify", by=BY)


def receipt_note(step: dict[str, Any], receipt: Checkpoint, tried: Tried, verb: str = "step.done") -> Note:
    facts: dict[str, Any] = {"step": step["key"], "attempt": receipt.attempt, "key": step["idempotency_key"]}
    if tried.outcome.code:
        facts["code"] = tried.outcome.code
    return Note(verb, facts)


def failure(case: Case, step: dict[str, Any], tried: Tried, kind: K = K.FAILURE) -> Checkpoint:
    record = case.ledger[step["key"]]
    facts = {
        "code": tried.outcome.code,
        "message": tried.outcome.message,
        "probe": str(tried.probe or ""),
        "effect": tried.probe == Probe.DONE,
        **tried.outcome.facts,
    }
    attempt = record.attempt if kind == K.FAILURE else record.undo_attempt
    return line(case, step, kind, attempt, facts=facts, log="\n".join(tried.log))


def failure_note(step: dict[str, Any], failed: Checkpoint, tried: Tried, verb: str = "step.failed") -> Note:
    facts = {
        "step": step["key"],
        "attempt": failed.attempt,
        "code": tried.outcome.code,
        "probe": str(tried.probe or ""),
    }
    return Note(verb, facts, {"message": tried.outcome.message}, outcome="failed")


def broken_off(case: Case, step: dict[str, Any], tried: Tried) -> Write:
    """A step failed for good: hold if in doubt, undo what was done, or fail if nothing was."""
    failed = failure(case, step, tried)
    notes = [failure_note(step, failed, tried)]
    error = error_of(tried.outcome, step)
    if tried.probe == Probe.UNKNOWN:
        sets = {"held_reason": "in_doubt", "error": error}
        return Write(
            case.action, "hold", by=BY, facts={"reason": "in_doubt", "step": step["key"]}, notes=notes,
            checkpoints=[failed], sets=sets, release=True,
        )  # fmt: skip
    undo = tried.probe == Probe.DONE or bool(case.ledger.with_effect(case.steps))
    undo = undo and case.executor.changes_something
    verb = "roll_back" if undo else "fail"
    return Write(
        case.action, verb, by=BY, facts={"because": tried.outcome.code, "step": step["key"]}, notes=notes,
        checkpoints=[failed], sets={"error": error}, release=not undo, outcome="ok" if undo else "failed",
    )  # fmt: skip


def stopped(case: Case, notes: list[Note]) -> Write:
    """Obey an abort at a checkpoint: undo what was done; with nothing to undo, fail as aborted."""
    error = {"code": "aborted", "message": "A person aborted the run.", "details": {}}
    undo = bool(case.ledger.with_effect(case.steps)) or bool(notes)
    verb = "roll_back" if undo and case.executor.changes_something else "fail"
    return Write(
        case.action, verb, by=BY, facts={"because": "aborted"}, notes=notes, sets={"error": error},
        release=verb == "fail",
    )  # fmt: skip


def error_of(outcome: Outcome, step: dict[str, Any]) -> dict[str, Any]:
    return {"code": outcome.code, "message": outcome.message, "details": {"step": step["key"], **outcome.facts}}
