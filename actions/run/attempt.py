"""One attempt at one step, in a thread, and the journal entries and events that record it."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from actions.lifecycle.context import ActionContext
from actions.lifecycle.transitions import Note
from actions.models import JournalEntry
from actions.preflight.plan import sanitize, sanitize_text
from actions.run.simulation import simulate_step
from actions.run.transcript import AttemptLog, usage_facts
from actions.types.protocol import Outcome, Probe, StepContext
from actions.types.shared.recovery_policy import RetryDecision
from approvals.policies.apply import evaluate
from approvals.verdict import Verdict, is_stricter

PRECONDITION = "precondition"
"""The code by which an executor vouches that it compared, refused, and touched nothing."""
POLICY = "policy"


@dataclass
class AttemptResult:
    """What one attempt left: the outcome, what a probe says of the effect where it matters, and the log."""

    outcome: Outcome
    probe: Probe | None = None
    log: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    """The one that kept it from being tried."""
    decision: RetryDecision | None = None
    """What is done about a failure, once that is decided; and how long a retry waits."""
    wait_s: float = 0.0

    metrics: dict[str, Any] | None = None
    """What it used (`actions.run.transcript`)."""

    def __post_init__(self) -> None:
        """Whatever the executor said, or repeats of its target: it must not fail the group it commits with."""
        if isinstance(self.log, AttemptLog) and self.metrics is None:  # in the attempt's own thread, once
            self.metrics = self.log.used()
        it = self.outcome
        self.outcome = replace(
            it, code=sanitize_text(it.code), message=sanitize_text(it.message), facts=sanitize(it.facts)
        )


def attempt_step(
    context: ActionContext, step: dict[str, Any], deadline: float, resumed: bool, again: bool
) -> AttemptResult:
    """
    One attempt, in a thread. After a crash (`resumed`) it asks `probe` first and applies only what is not done.

    `deadline` is the action's; the step's own time begins here. `again`: it waited for this, and a run that is to stop
    meanwhile need not. An executor's exception is an outcome: `executor_error`, settled by a probe.
    """
    with structlog.contextvars.bound_contextvars(
        correlation_id=context.action.correlation_id, action=str(context.action.pk), step=step["key"]
    ):
        until = min(deadline, time.monotonic() + step["timeout_s"]) if step.get("timeout_s") else deadline
        return _attempt(context, step, until, resumed, again)


def _attempt(
    context: ActionContext, step: dict[str, Any], deadline: float, resumed: bool, again: bool
) -> AttemptResult:
    ctx, log = step_context(context, step, deadline, attempt=context.journal[step["key"]].attempt)
    executor = context.executor
    try:
        if resumed and not context.action.simulated:
            found = executor.probe(ctx)
            if found == Probe.DONE:
                log.append("The effect was already there when the run was taken up again.")
                return AttemptResult(Outcome(True, "recovered", facts={"recovered": True}), found, log)
            if found == Probe.UNKNOWN:
                return AttemptResult(Outcome(False, "in_doubt", "Unknown whether the step took effect."), found, log)
        if context.is_breaking_off:
            return AttemptResult(Outcome(False, "stopped", "Another step failed before this one."), Probe.NOT_DONE, log)
        if (again or resumed) and context.action.stop_requested_at is not None:
            return AttemptResult(
                Outcome(False, "stopped", "It was to be tried again, but the run stops."), Probe.NOT_DONE, log
            )
        red = stricter_verdict(context)
        if red:
            return AttemptResult(
                Outcome(False, POLICY, describe_stricter(red, context.plan.verdict)), Probe.NOT_DONE, log, red
            )
        if time.monotonic() > deadline:
            return AttemptResult(
                Outcome(False, "timeout", "The action's time ran out before this step."), Probe.NOT_DONE, log
            )
        outcome = simulate_step(context, step, ctx) if context.action.simulated else executor.apply(ctx)
    except Exception as exc:  # an executor is third-party code: whatever it raises is this step's outcome
        outcome = Outcome(False, "executor_error", f"{type(exc).__name__}: {exc}")
    if outcome.ok:
        return AttemptResult(outcome, None, log)
    untouched = outcome.code == PRECONDITION or context.action.simulated
    return AttemptResult(outcome, Probe.NOT_DONE if untouched else probe_effect(context, ctx), log)


def stricter_verdict(context: ActionContext) -> Verdict | None:
    """The verdict of a checkpoint by which rules and matrix no longer let a run go on; None while they do."""
    if not context.facts:
        return None
    asked = context.plan.verdict
    verdict = evaluate(context.facts, context.rules, context.now)
    return verdict if is_stricter(verdict, asked["required_approvals"], asked["outcome"]) else None


def describe_stricter(verdict: Verdict, asked: dict[str, Any]) -> str:
    """What a verdict has against a run that the one it was approved by had not."""
    harsher = [r for r in verdict.reasons if r["effect"] in ("deny", "require")]
    new = [f"{r['rule']}: {r['message']}" for r in harsher if r not in asked.get("reasons", [])]
    return " ".join(new) or "The verdict became stricter than the approved one."


def probe_effect(context: ActionContext, ctx: StepContext) -> Probe:
    try:
        return context.executor.probe(ctx)
    except Exception as exc:  # a probe that fails cannot tell
        ctx.log(f"The probe failed: {type(exc).__name__}: {exc}")
        return Probe.UNKNOWN


def step_context(
    context: ActionContext,
    step: dict[str, Any],
    deadline: float,
    images: dict[str, bytes] | None = None,
    attempt: int = 0,
) -> tuple[StepContext, list[str]]:
    """What the executor is given for one attempt, and the list its log lines go to.

    With `images` it is an attempt to undo. What is no attempt at all (0) but a question is not shown while it runs.
    """
    is_undo = images is not None
    key = (step["key"], context.journal[step["key"]].undo_attempt if is_undo else attempt, is_undo)
    log = AttemptLog(key, context.earlier.get(key))
    if key[1]:
        context.transcripts[key] = log
    ctx = StepContext(
        target=context.target,
        action_id=context.action.pk,
        step=step,
        parameters=context.action.parameters,
        idempotency_key=step["idempotency_key"],
        before_image=lambda: (images or {}).get(step["key"]),
        undone=context.undone.get,
        log=log.note,
        measure=log.meter.report,
        deadline=deadline,
        stopping=lambda: context.action.stop_requested_at is not None or context.is_breaking_off or context.halting(),
    )
    return ctx, log


# Lines of the step journal, and the events that tell of them.


K = JournalEntry.Kind


def intent_entry(context: ActionContext, step: dict[str, Any], kind: K = K.INTENT) -> JournalEntry:
    record = context.journal[step["key"]]
    attempt = (record.attempt if kind == K.INTENT else record.undo_attempt) + 1
    return journal_entry(context, step, kind, attempt)


def journal_entry(context: ActionContext, step: dict[str, Any], kind: K, attempt: int, **more: Any) -> JournalEntry:
    return JournalEntry(
        action_id=context.action.pk,
        plan_id=context.plan.pk,
        step=step["key"],
        attempt=attempt,
        kind=kind,
        lease=context.lease,
        **more,
    )


def receipt_note(step: dict[str, Any], receipt: JournalEntry, tried: AttemptResult, verb: str = "step.done") -> Note:
    facts: dict[str, Any] = {"step": step["key"], "attempt": receipt.attempt, "key": step["idempotency_key"]}
    facts |= usage_facts(tried.metrics)
    if tried.outcome.code:
        facts["code"] = tried.outcome.code
    return Note(verb, facts)


def failure_entry(
    context: ActionContext, step: dict[str, Any], tried: AttemptResult, kind: K = K.FAILURE
) -> JournalEntry:
    record = context.journal[step["key"]]
    facts = {
        "code": tried.outcome.code,
        "message": tried.outcome.message,
        "probe": str(tried.probe or ""),
        "effect": tried.probe == Probe.DONE,
        **tried.outcome.facts,
    }
    attempt = record.attempt if kind == K.FAILURE else record.undo_attempt
    if not tried.log:  # one that overran is still writing: keep what it has written so far
        tried.log = list(context.transcripts.get((step["key"], attempt, kind != K.FAILURE), ()))
    return journal_entry(context, step, kind, attempt, facts=facts, **log_and_metrics(tried))


def log_and_metrics(tried: AttemptResult) -> dict[str, Any]:
    """What the line that ends an attempt keeps of its log and its use."""
    return {"log": "\n".join(tried.log), "metrics": tried.metrics}


def failure_note(step: dict[str, Any], failed: JournalEntry, tried: AttemptResult, verb: str = "step.failed") -> Note:
    facts = {
        "step": step["key"],
        "attempt": failed.attempt,
        "code": tried.outcome.code,
        "probe": str(tried.probe or ""),
        **usage_facts(tried.metrics),
    }
    return Note(verb, facts, {"message": tried.outcome.message}, outcome="failed")
