"""One attempt at one step, in a thread: what the executor is given, and what came of it."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from actions.case import Case
from actions.run.recovery import Decision
from actions.run.simulate import simulate_step
from actions.run.transcript import Transcript
from actions.storable import storable, text_of
from actions.types.protocol import Outcome, Probe, StepContext
from approvals.policies.apply import evaluate
from approvals.verdict import Verdict, is_stricter

NOTHING_WRITTEN = "precondition"
"""The code by which an executor vouches that it compared, refused, and touched nothing."""
TURNED_RED = "policy"


@dataclass
class Tried:
    """What one attempt left: the outcome, what a probe says of the effect where it matters, and the log."""

    outcome: Outcome
    probe: Probe | None = None
    log: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    """The one that kept it from being tried."""
    decision: Decision | None = None
    """What is done about a failure, once that is decided; and how long a retry waits."""
    wait_s: float = 0.0

    metrics: dict[str, Any] | None = None
    """What it used (`actions.run.metrics`)."""

    def __post_init__(self) -> None:
        """Whatever the executor said, or repeats of its target: it must not fail the group it commits with."""
        if isinstance(self.log, Transcript) and self.metrics is None:  # in the attempt's own thread, once
            self.metrics = self.log.used()
        it = self.outcome
        self.outcome = replace(it, code=text_of(it.code), message=text_of(it.message), facts=storable(it.facts))


def attempt_step(case: Case, step: dict[str, Any], deadline: float, resumed: bool, again: bool) -> Tried:
    """
    One attempt, in a thread. After a crash (`resumed`) it asks `probe` first and applies only what is not done.

    `deadline` is the action's; the step's own time begins here. `again`: it waited for this, and a run that is to stop
    meanwhile need not. An executor's exception is an outcome: `executor_error`, settled by a probe.
    """
    with structlog.contextvars.bound_contextvars(
        correlation_id=case.action.correlation_id, action=str(case.action.pk), step=step["key"]
    ):
        until = min(deadline, time.monotonic() + step["timeout_s"]) if step.get("timeout_s") else deadline
        return _attempt(case, step, until, resumed, again)


def _attempt(case: Case, step: dict[str, Any], deadline: float, resumed: bool, again: bool) -> Tried:
    ctx, log = context(case, step, deadline, attempt=case.ledger[step["key"]].attempt)
    executor = case.executor
    try:
        if resumed and not case.action.simulated:
            found = executor.probe(ctx)
            if found == Probe.DONE:
                log.append("The effect was already there when the run was taken up again.")
                return Tried(Outcome(True, "recovered", facts={"recovered": True}), found, log)
            if found == Probe.UNKNOWN:
                return Tried(Outcome(False, "in_doubt", "It cannot be told whether the step is done."), found, log)
        if case.is_breaking_off:
            return Tried(Outcome(False, "stopped", "Another step failed before this one."), Probe.NOT_DONE, log)
        if (again or resumed) and case.action.stop_requested_at is not None:
            return Tried(Outcome(False, "stopped", "It was to be tried again, but the run stops."), Probe.NOT_DONE, log)
        red = turned_red(case)
        if red:
            return Tried(Outcome(False, TURNED_RED, words_of(red, case.plan.verdict)), Probe.NOT_DONE, log, red)
        if time.monotonic() > deadline:
            return Tried(Outcome(False, "timeout", "The action's time ran out before this step."), Probe.NOT_DONE, log)
        outcome = simulate_step(case, step, ctx) if case.action.simulated else executor.apply(ctx)
    except Exception as exc:  # an executor is third-party code: whatever it raises is this step's outcome
        outcome = Outcome(False, "executor_error", f"{type(exc).__name__}: {exc}")
    if outcome.ok:
        return Tried(outcome, None, log)
    untouched = outcome.code == NOTHING_WRITTEN or case.action.simulated
    return Tried(outcome, Probe.NOT_DONE if untouched else probed(case, ctx), log)


def turned_red(case: Case) -> Verdict | None:
    """The verdict of a checkpoint by which rules and matrix no longer let a run go on; None while they do."""
    if not case.facts:
        return None
    asked = case.plan.verdict
    verdict = evaluate(case.facts, case.rules, case.now)
    return verdict if is_stricter(verdict, asked["required_approvals"], asked["outcome"]) else None


def words_of(verdict: Verdict, asked: dict[str, Any]) -> str:
    """What a verdict has against a run that the one it was approved by had not."""
    harsher = [r for r in verdict.reasons if r["effect"] in ("deny", "require")]
    new = [f"{r['rule']}: {r['message']}" for r in harsher if r not in asked.get("reasons", [])]
    return " ".join(new) or "The rules have become stricter than what was approved."


def probed(case: Case, ctx: StepContext) -> Probe:
    try:
        return case.executor.probe(ctx)
    except Exception as exc:  # a probe that fails cannot tell
        ctx.log(f"The probe failed: {type(exc).__name__}: {exc}")
        return Probe.UNKNOWN


def context(
    case: Case, step: dict[str, Any], deadline: float, images: dict[str, bytes] | None = None, attempt: int = 0
) -> tuple[StepContext, list[str]]:
    """What the executor is given for one attempt, and the list its log lines go to.

    With `images` it is an attempt to undo. What is no attempt at all (0) but a question is not shown while it runs.
    """
    is_undo = images is not None
    key = (step["key"], case.ledger[step["key"]].undo_attempt if is_undo else attempt, is_undo)
    log = Transcript(key, case.earlier.get(key))
    if key[1]:
        case.transcripts[key] = log
    ctx = StepContext(
        target=case.target,
        action_id=case.action.pk,
        step=step,
        parameters=case.action.parameters,
        idempotency_key=step["idempotency_key"],
        before_image=lambda: (images or {}).get(step["key"]),
        undone=case.undone.get,
        log=log.note,
        measure=log.meter.report,
        deadline=deadline,
        stopping=lambda: case.action.stop_requested_at is not None or case.is_breaking_off or case.halting(),
    )
    return ctx, log
