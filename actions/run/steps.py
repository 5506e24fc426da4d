"""Steps forward: intent → effect → receipt, side by side where the plan's order allows, obeying a stop at every one."""

import math
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
from actions.run.failing import BUDGET, counted_steps, falls_back, judge_failures, next_try, said, stands_in
from actions.run.lines import failure, failure_note, intent, kept, line, receipt_note
from actions.run.no_return import look_back, may_begin, passed_notes, turned_away
from actions.run.recovery import Decision
from actions.run.stopping import halt_of, how_stopped
from actions.run.watch import heed, watching
from actions.types.protocol import Outcome, Probe

BY = "system:execute"
K = Checkpoint.Kind
MOST_BESIDE = 4
"""Steps of one action that run at once, at most."""
OVERRUN_S = 10.0
"""How long after its deadline an effect may still come back before it is given up on."""
MOST_RESTED_S = 5.0
"""A wait that is longer than this, with nothing else to do, is not sat out in a worker's hands."""
AGAIN = frozenset({"settled", TURNED_RED, "stopped"})
"""Failures that a resumed run goes over again: a person's word, a rule that may have changed, a stop."""
STOPPING = "stopping"
"""Why a failure was not followed by another try: the run was to stop. A resumed run goes over it again."""
Step = dict[str, Any]


def run_steps(case: Case, deadline: float) -> Generator[Asked, Any, None]:
    """Carry out what the ledger says is not done; ends in verifying, or somewhere safe once nothing runs any more."""
    flying: dict[str, Step] = {}
    case.is_breaking_off = bool(broken_before(case))
    for step in [s for s in case.steps if case.ledger[s["key"]].state == "open"]:
        flying[step["key"]] = step
        yield launch(case, step, deadline, resumed=step["key"] in case.found_open, again=is_due_later(case, step))
    yield from watching(case)
    while case.action.state == "in_progress":
        landed: list[tuple[Step, Tried]] = []
        if flying:
            ended = yield Landed()
            landed = [(flying.pop(key), tried_of(result)) for key, result in ended if key in flying]
            yield from heed(case, ended, [tried.outcome for _, tried in landed])
            if not landed:
                continue
        else:
            yield from look_back(case, to_come(case))
        judge_failures(case, landed, deadline)
        written = yield from durably(case, partial(onward, case, landed, frozenset(flying)))
        if case.action.state != "in_progress" or case.action.lease_id is None:
            return
        for step, again in begun_by(case, written):
            flying[step["key"]] = step
            yield launch(case, step, deadline, again=again)


def launch(case: Case, step: Step, deadline: float, *, resumed: bool = False, again: bool = False) -> Launch:
    """One attempt at a step, until its own deadline or the action's, whichever comes first."""
    call = partial(attempt_step, case, step, deadline, resumed, again)
    due = case.ledger[step["key"]].retry_at if again else None
    delay = max(0.0, (due - case.now).total_seconds()) if due else 0.0
    left = max(0.0, deadline - time.monotonic() - delay)
    return Launch(step["key"], call, overdue_s=min(step.get("timeout_s") or left, left) + OVERRUN_S, delay_s=delay)


def is_due_later(case: Case, step: Step) -> bool:
    """Whether a step that was found open waits to be tried again: its time was written down with its intent."""
    due = case.ledger[step["key"]].retry_at
    return due is not None and due > case.now


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
    return [(s, "failure" in kinds[s["key"]]) for s in case.steps if "intent" in kinds.get(s["key"], set())]


@dataclass
class Turn:
    """What one write of a run is made of."""

    case: Case
    notes: list[Note] = field(default_factory=list)
    lines: list[Checkpoint] = field(default_factory=list)
    broken: list[tuple[Step, Tried]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    """What needs nothing more: done, left out, or stood in for by another step."""
    fallen: set[str] = field(default_factory=set)
    """What failed and gives way to the step that stands in for it."""
    again: set[str] = field(default_factory=set)
    has_effect: bool = False

    def settle(self, step: Step) -> None:
        """Count a step as needing nothing more, and so those that it stands in for."""
        by_key = {s["key"]: s for s in self.case.steps}
        key: str | None = step["key"]
        while key is not None and key not in self.done:
            self.done.add(key)
            key = by_key[key].get("fallback_for")

    def is_over(self) -> bool:
        """Whether every step needs nothing more; one that only stands in for others counts once it is called on."""
        return all(s["key"] in self.done or is_asleep(s, self.fallen) for s in self.case.steps)


def onward(case: Case, landed: list[tuple[Step, Tried]], flying: frozenset[str]) -> Write:
    """What has landed becomes durable, with the intents of what comes next, or with where the run goes from here.

    A step that failed for good starts nothing more; what runs beside it is heard out before anything is undone.
    """
    turn = Turn(case, done=case.ledger.settled(case.steps), fallen=fallen_of(case))
    for step, tried in landed:
        _take(turn, step, tried)
    stays = flying | turn.again
    known = [*broken_before(case), *turn.broken]
    case.is_breaking_off = bool(known and stays)
    if not stays:
        if known:
            return broken_off(turn, known)
        if case.action.stop_requested_at:
            return stopped(turn)
        if turn.is_over():
            return _write(turn, "verify")
    if not known and not case.action.stop_requested_at:
        free = ready(case.steps, turn.done, stays | {s["key"] for s, _ in landed}, turn.fallen)
        if not stays and (error := turned_away(case, free)):
            return way_back(turn, error)
        fresh = may_begin(case, free, len(stays))[: MOST_BESIDE - len(stays)]
        turn.lines += [intent(case, step) for step in fresh]
        turn.notes += passed_notes(case, fresh)
        if turn.again and not flying and not fresh and (wait := wait_of(turn, landed)) > MOST_RESTED_S:
            return _write(turn, release=True, sets={"wake_s": math.ceil(wait)})
        if not turn.notes:  # a write of intents alone: a run that was taken up between two steps
            turn.notes = [Note("step.begun", {"step": step["key"]}) for step in fresh]
    return _write(turn)


def wait_of(turn: Turn, landed: list[tuple[Step, Tried]]) -> float:
    """How long it is until the first of the steps that are tried again."""
    return min(tried.wait_s for step, tried in landed if step["key"] in turn.again)


def to_come(case: Case) -> list[Step]:
    """The steps whose turn it is while nothing runs, by the ledger; none for a run that is to stop or go back."""
    if case.action.stop_requested_at or broken_before(case):
        return []
    return ready(case.steps, case.ledger.settled(case.steps), set(), fallen_of(case))


def ready(
    steps: list[Step], done: set[str], taken: frozenset[str] | set[str], fallen: frozenset[str] | set[str] = frozenset()
) -> list[Step]:
    """The steps that may begin now, in the plan's order: not begun, and all that they come after is done.

    One that stands in for another begins only once that has `fallen`.
    """
    out = {*done, *taken, *fallen}
    return [s for s in steps if s["key"] not in out and not is_asleep(s, fallen) and set(s.get("after") or ()) <= done]


def is_asleep(step: Step, fallen: frozenset[str] | set[str]) -> bool:
    """Whether a step only stands in for another, which has not failed."""
    return bool(step.get("fallback_for")) and step["fallback_for"] not in fallen


def fallen_of(case: Case) -> set[str]:
    """The steps that gave way to another one of the plan, by the ledger."""
    return {s["fallback_for"] for s in case.steps if s.get("fallback_for")} & case.ledger.fallen()


def broken_before(case: Case) -> list[tuple[Step, Tried]]:
    """Steps that failed for good, by the ledger: beside those that still run, or before a crash."""
    found = []
    fallen = fallen_of(case)
    for step in case.steps:
        record = case.ledger[step["key"]]
        code = record.facts.get("code", "")
        is_final = code not in AGAIN and record.facts.get("why") != STOPPING
        if record.state == "failed" and is_final and step["key"] not in fallen:
            probe = Probe(record.facts["probe"]) if record.facts.get("probe") else None
            decision = Decision(record.facts.get("strategy", "abort"), record.facts.get("why", ""))
            found.append((step, Tried(Outcome(False, code, record.facts.get("message", "")), probe, decision=decision)))
    return found


def _take(turn: Turn, step: Step, tried: Tried) -> None:
    case = turn.case
    if tried.outcome.ok:
        attempt = case.ledger[step["key"]].attempt
        receipt = line(case, step, K.RECEIPT, attempt, facts=tried.outcome.facts, **kept(tried))
        turn.lines.append(receipt)
        turn.notes.append(receipt_note(step, receipt, tried))
        turn.settle(step)
        turn.has_effect = True
    else:
        _recover(turn, step, tried)


def _recover(turn: Turn, step: Step, tried: Tried) -> None:
    """Do what was decided about a failed attempt, unless the run is to stop by now."""
    case, stopping = turn.case, turn.case.is_breaking_off or turn.case.action.stop_requested_at
    chosen = "abort" if stopping or tried.decision is None else tried.decision.strategy
    failed = failure(case, step, tried)
    cut_off = stopping and tried.decision is not None and tried.decision.strategy == "retry"
    why = said(Decision("abort", STOPPING) if cut_off else tried.decision)
    failed.facts = {**failed.facts, **why}
    told = failure_note(step, failed, tried)
    told.facts = {**told.facts, **why}
    turn.lines.append(failed)
    turn.notes.append(told)
    if chosen == "retry":
        turn.lines.append(line(case, step, K.INTENT, failed.attempt + 1, facts=next_try(case, tried.wait_s)))
        turn.again.add(step["key"])
    elif chosen == "skip":
        turn.lines.append(line(case, step, K.SKIP, failed.attempt))
        turn.notes.append(Note("step.skipped", {"step": step["key"], "code": tried.outcome.code}))
        turn.settle(step)
    elif chosen == "fallback" and stands_in(case, step):
        turn.fallen.add(step["key"])
    else:
        turn.broken.append((step, tried))
        turn.has_effect = turn.has_effect or tried.probe == Probe.DONE


def broken_off(turn: Turn, broken: list[tuple[Step, Tried]]) -> Write:
    """Steps failed for good: hold if one is in doubt, undo what was done, or fail if nothing was."""
    case = turn.case
    for step, tried in broken:
        if tried.probe in (None, Probe.UNKNOWN) or tried.outcome.code == TURNED_RED:
            reason = "policy" if tried.outcome.code == TURNED_RED else "in_doubt"
            codes = [t.outcome.code for _, t in broken]
            facts = {"reason": reason, "step": step["key"], "stopped": how_stopped(case, codes)}
            sets = {"held_reason": reason, "error": error_of(tried.outcome, step)}
            if tried.verdict is not None:
                turn.notes += judged_again(case, tried.verdict, case.facts, "checkpoint")
            return _write(turn, "hold", facts=facts, sets=sets, release=True)
    if case.action.stop_requested_at:
        return stopped(turn)
    step, tried = broken[0]
    w = way_back(turn, error_of(tried.outcome, step, tried.decision))
    if falls_back(case, [tried.decision for _, tried in broken]):
        w.sets["fallback_due"] = True
    return w


def stopped(turn: Turn) -> Write:
    """Go where the one who asked the run to stop wants it."""
    halt = halt_of(turn.case, [tried.outcome.code for _, tried in turn.broken])
    if halt.verb:
        return _write(turn, halt.verb, facts=halt.facts, sets=halt.sets, release=halt.verb == "hold")
    return way_back(turn, halt.error, **halt.facts)


def way_back(turn: Turn, error: dict[str, Any], **facts: Any) -> Write:
    """Undo what was done, as far as the ledger and this turn know; with nothing to undo, fail."""
    case = turn.case
    undo = (turn.has_effect or bool(case.ledger.with_effect(case.steps))) and case.changes_something
    return _write(
        turn,
        "roll_back" if undo else "fail",
        facts={"because": error["code"], **facts},
        sets={"error": error},
        release=not undo,
        outcome="ok" if undo else "failed",
    )


def _write(turn: Turn, verb: str = "", *, sets: dict[str, Any] | None = None, **more: Any) -> Write:
    ended = any(c.kind in (K.RECEIPT, K.SKIP) for c in turn.lines)
    counted = {"steps_done": len(turn.done & {s["key"] for s in counted_steps(turn.case.steps)})} if ended else {}
    both = {**counted, **(sets or {})}
    return Write(turn.case.action, verb, by=BY, notes=turn.notes, checkpoints=turn.lines, sets=both, **more)


def error_of(outcome: Outcome, step: Step, decision: Decision | None = None) -> dict[str, Any]:
    if decision is not None and decision.why == BUDGET:
        message = f"It was tried again as often as its target allows. The last error, {outcome.code}: {outcome.message}"
        return {"code": BUDGET, "message": message, "details": {"step": step["key"], "cause": outcome.code}}
    return {"code": outcome.code, "message": outcome.message, "details": {"step": step["key"], **outcome.facts}}
