"""Steps forward: intent → effect → receipt, side by side where the plan's order allows, obeying a stop at every one."""

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actions.case import Asked, Case, Landed, Launch, Overran, Result, durably
from actions.lifecycle import Note, Write
from actions.models import Checkpoint
from actions.preflight.script import judged_again
from actions.run.attempt import TURNED_RED, Tried, attempt_step
from actions.run.lines import failure, failure_note, intent, line, receipt_note
from actions.types.protocol import Outcome, Probe

BY = "system:execute"
K = Checkpoint.Kind
MOST_ATTEMPTS = 3
MOST_BESIDE = 4
"""Steps of one action that run at once, at most."""
OVERRUN_S = 10.0
"""How long after its deadline an effect may still come back before it is given up on."""
AGAIN = frozenset({"settled", TURNED_RED, "stopped"})
"""Failures that a resumed run goes over again: a person's word, a rule that may have changed, a stop."""
ABORTED: dict[str, Any] = {"code": "aborted", "message": "A person aborted the run.", "details": {}}
Step = dict[str, Any]


def run_steps(case: Case, deadline: float) -> Generator[Asked, Any, None]:
    """Carry out what the ledger says is not done; ends in verifying, or somewhere safe once nothing runs any more."""
    flying: dict[str, Step] = {}
    case.is_breaking_off = bool(broken_before(case))
    for step in [s for s in case.steps if case.ledger[s["key"]].state == "open"]:
        flying[step["key"]] = step
        yield launch(case, step, deadline, resumed=step["key"] in case.found_open)
    while case.action.state == "in_progress":
        landed: list[tuple[Step, Tried]] = []
        if flying:
            ended = yield Landed()
            landed = [(flying.pop(key), tried_of(result)) for key, result in ended]
        written = yield from durably(case, partial(onward, case, landed, frozenset(flying), deadline))
        if case.action.state != "in_progress":
            return
        for step, again in begun_by(case, written):
            flying[step["key"]] = step
            yield launch(case, step, deadline, again=again)


def launch(case: Case, step: Step, deadline: float, *, resumed: bool = False, again: bool = False) -> Launch:
    """One attempt at a step, until its own deadline or the action's, whichever comes first."""
    tries = case.ledger[step["key"]].attempt if again else 0
    call = partial(attempt_step, case, step, deadline, resumed, tries)
    left = max(0.0, deadline - time.monotonic())
    return Launch(step["key"], call, overdue_s=min(step.get("timeout_s") or left, left) + OVERRUN_S)


def tried_of(result: Result) -> Tried:
    if isinstance(result.error, Overran):
        words = "The step did not end when its time was up, and may still be running. Look at the target."
        return Tried(Outcome(False, "overran", words), Probe.UNKNOWN)
    if result.error is not None:
        raise result.error
    tried: Tried = result.value
    return tried


def begun_by(case: Case, written: Write) -> list[tuple[Step, bool]]:
    """The steps whose intent a write made durable, and whether that is for another try."""
    kinds: dict[str, set[str]] = {}
    for entry in written.checkpoints:
        kinds.setdefault(entry.step, set()).add(str(entry.kind))
    return [
        (s, "failure" in kinds[s["key"]]) for s in case.steps if "intent" in kinds.get(s["key"], set())
    ]  # fmt: skip


@dataclass
class Turn:
    """What one write of a run is made of."""

    case: Case
    notes: list[Note] = field(default_factory=list)
    lines: list[Checkpoint] = field(default_factory=list)
    broken: list[tuple[Step, Tried]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    has_effect: bool = False


def onward(case: Case, landed: list[tuple[Step, Tried]], flying: frozenset[str], deadline: float) -> Write:
    """What has landed becomes durable, with the intents of what comes next, or with where the run goes from here.

    A step that failed for good starts nothing more; what runs beside it is heard out before anything is undone.
    """
    turn = Turn(case, done={s["key"] for s in case.steps if case.ledger[s["key"]].state == "done"})
    for step, tried in landed:
        _take(turn, step, tried, deadline)
    stays = flying | turn.again
    known = [*broken_before(case), *turn.broken]
    case.is_breaking_off = bool(known and stays)
    if not stays:
        if known:
            return broken_off(turn, known)
        if case.action.stop_requested_at:
            return way_back(turn, ABORTED)
        if len(turn.done) == len(case.steps):
            return _write(turn, "verify")
    if not known and not case.action.stop_requested_at:
        fresh = ready(case.steps, turn.done, stays | {s["key"] for s, _ in landed})[: MOST_BESIDE - len(stays)]
        turn.lines += [intent(case, step) for step in fresh]
        if not turn.notes:  # a write of intents alone: a run that was taken up between two steps
            turn.notes = [Note("step.begun", {"step": step["key"]}) for step in fresh]
    return _write(turn)


def ready(steps: list[Step], done: set[str], taken: frozenset[str] | set[str]) -> list[Step]:
    """The steps that may begin now, in the plan's order: not begun, and all that they come after is done."""
    return [
        s
        for s in steps
        if s["key"] not in done and s["key"] not in taken and set(s.get("after") or ()) <= done
    ]  # fmt: skip


def broken_before(case: Case) -> list[tuple[Step, Tried]]:
    """Steps that failed for good, by the ledger: beside those that still run, or before a crash."""
    found = []
    for step in case.steps:
        record = case.ledger[step["key"]]
        code = record.facts.get("code", "")
        if record.state == "failed" and code not in AGAIN:
            probe = Probe(record.facts["probe"]) if record.facts.get("probe") else None
            found.append((step, Tried(Outcome(False, code, record.facts.get("message", "")), probe)))
    return found


def _take(turn: Turn, step: Step, tried: Tried, deadline: float) -> None:
    case = turn.case
    if tried.outcome.ok:
        attempt = case.ledger[step["key"]].attempt
        receipt = line(case, step, K.RECEIPT, attempt, facts=tried.outcome.facts, log="\n".join(tried.log))
        turn.lines.append(receipt)
        turn.notes.append(receipt_note(step, receipt, tried))
        turn.done.add(step["key"])
        turn.has_effect = True
        return
    failed = failure(case, step, tried)
    turn.lines.append(failed)
    turn.notes.append(failure_note(step, failed, tried))
    if _worth_another_try(case, step, tried, deadline):
        turn.lines.append(line(case, step, K.INTENT, failed.attempt + 1))
        turn.again.add(step["key"])
        return
    turn.broken.append((step, tried))
    turn.has_effect = turn.has_effect or tried.probe == Probe.DONE


def _worth_another_try(case: Case, step: Step, tried: Tried, deadline: float) -> bool:
    return (
        tried.outcome.retryable
        and tried.probe == Probe.NOT_DONE
        and case.ledger[step["key"]].attempt < MOST_ATTEMPTS
        and not case.action.stop_requested_at
        and not case.is_breaking_off
        and time.monotonic() < deadline
    )


def broken_off(turn: Turn, broken: list[tuple[Step, Tried]]) -> Write:
    """Steps failed for good: hold if one is in doubt, undo what was done, or fail if nothing was."""
    case = turn.case
    for step, tried in broken:
        if tried.probe == Probe.UNKNOWN or tried.outcome.code == TURNED_RED:
            reason = "policy" if tried.outcome.code == TURNED_RED else "in_doubt"
            facts = {"reason": reason, "step": step["key"]}
            sets = {"held_reason": reason, "error": error_of(tried.outcome, step)}
            if tried.verdict is not None:
                turn.notes += judged_again(case, tried.verdict, case.facts, "checkpoint")
            return _write(turn, "hold", facts=facts, sets=sets, release=True)
    step, tried = broken[0]
    return way_back(turn, ABORTED if case.action.stop_requested_at else error_of(tried.outcome, step))


def way_back(turn: Turn, error: dict[str, Any]) -> Write:
    """Undo what was done, as far as the ledger and this turn know; with nothing to undo, fail."""
    case = turn.case
    undo = (turn.has_effect or bool(case.ledger.with_effect(case.steps))) and case.changes_something
    return _write(
        turn, "roll_back" if undo else "fail", facts={"because": error["code"]}, sets={"error": error},
        release=not undo, outcome="ok" if undo else "failed",
    )  # fmt: skip


def _write(turn: Turn, verb: str = "", *, sets: dict[str, Any] | None = None, **more: Any) -> Write:
    counted = {"steps_done": len(turn.done)} if any(c.kind == K.RECEIPT for c in turn.lines) else {}
    both = {**counted, **(sets or {})}
    return Write(turn.case.action, verb, by=BY, notes=turn.notes, checkpoints=turn.lines, sets=both, **more)


def error_of(outcome: Outcome, step: Step) -> dict[str, Any]:
    return {"code": outcome.code, "message": outcome.message, "details": {"step": step["key"], **outcome.facts}}
