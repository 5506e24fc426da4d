"""Steps forward: intent → effect → receipt, one at a time, obeying a stop at every checkpoint."""

import time
from collections.abc import Generator
from functools import partial
from typing import Any

from actions.case import Case, Effect, Result, durably
from actions.lifecycle import Note, Write
from actions.models import Checkpoint
from actions.preflight.script import judged_again
from actions.run.attempt import TURNED_RED, Tried, attempt_step
from actions.run.lines import failure, failure_note, intent, line, receipt_note
from actions.types.protocol import Outcome, Probe

BY = "system:execute"
K = Checkpoint.Kind
MOST_ATTEMPTS = 3
ABORTED: dict[str, Any] = {"code": "aborted", "message": "A person aborted the run.", "details": {}}


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
                yield from durably(case, lambda: way_back(case, ABORTED, [], [], effect=False))
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
    return result.value


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
        return way_back(case, ABORTED, [], [], effect=False)
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
        return way_back(case, ABORTED, notes, [receipt], effect=True, steps_done=done)
    if following is None:
        return Write(
            case.action, "verify", by=BY, notes=notes, checkpoints=[receipt], sets={"steps_done": done},
        )  # fmt: skip
    lines = [receipt, intent(case, following)]
    return Write(case.action, by=BY, notes=notes, checkpoints=lines, sets={"steps_done": done})


def _all_done(case: Case) -> Write:
    if case.action.stop_requested_at:
        return way_back(case, ABORTED, [], [], effect=False)
    return Write(case.action, "verify", by=BY)


def broken_off(case: Case, step: dict[str, Any], tried: Tried) -> Write:
    """A step failed for good: hold if in doubt, undo what was done, or fail if nothing was."""
    failed = failure(case, step, tried)
    notes = [failure_note(step, failed, tried)]
    error = error_of(tried.outcome, step)
    if tried.probe == Probe.UNKNOWN or tried.outcome.code == TURNED_RED:
        reason = "policy" if tried.outcome.code == TURNED_RED else "in_doubt"
        if tried.verdict is not None:
            notes += judged_again(case, tried.verdict, case.facts, "checkpoint")
        return Write(
            case.action, "hold", by=BY, facts={"reason": reason, "step": step["key"]}, notes=notes,
            checkpoints=[failed], sets={"held_reason": reason, "error": error}, release=True,
        )  # fmt: skip
    aborted = case.action.stop_requested_at is not None
    return way_back(case, ABORTED if aborted else error, notes, [failed], effect=tried.probe == Probe.DONE)


def way_back(
    case: Case, error: dict[str, Any], notes: list[Note], lines: list[Checkpoint], *, effect: bool, **sets: Any
) -> Write:
    """Undo what was done, as far as the ledger and `effect` (this step's) know; with nothing to undo, fail."""
    undo = (effect or bool(case.ledger.with_effect(case.steps))) and case.executor.changes_something
    return Write(
        case.action, "roll_back" if undo else "fail", by=BY, facts={"because": error["code"]}, notes=notes,
        checkpoints=lines, sets={"error": error, **sets}, release=not undo, outcome="ok" if undo else "failed",
    )  # fmt: skip


def error_of(outcome: Outcome, step: dict[str, Any]) -> dict[str, Any]:
    return {"code": outcome.code, "message": outcome.message, "details": {"step": step["key"], **outcome.facts}}
