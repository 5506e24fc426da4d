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
"""The code by which an executor says that it compared, refused, and changed nothing."""
POLICY = "policy"


@dataclass
class AttemptResult:
    """The result of one attempt: its outcome, the probe of its effect where that matters, and its log."""

    outcome: Outcome
    probe: Probe | None = None
    log: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    """The failure because of which it was not tried."""
    decision: RetryDecision | None = None
    """The decision on a failure, and how long a retry waits."""
    wait_s: float = 0.0

    metrics: dict[str, Any] | None = None
    """Its resource usage (`actions.run.transcript`)."""

    def __post_init__(self) -> None:
        """Make the executor's words storable: they must not fail the group that they are committed with."""
        if isinstance(self.log, AttemptLog) and self.metrics is None:  # once, in the thread of the attempt
            self.metrics = self.log.used()
        it = self.outcome
        self.outcome = replace(
            it, code=sanitize_text(it.code), message=sanitize_text(it.message), facts=sanitize(it.facts)
        )


def attempt_step(
    context: ActionContext, step: dict[str, Any], deadline: float, resumed: bool, again: bool
) -> AttemptResult:
    """
    Make one attempt, in a thread. After a crash (`resumed`) probe first, and apply only what is not done.

    `deadline` is the action's; the step's own time begins here. `again`: a retry that waited, which is dropped if the
    run is to stop. An executor's exception is an outcome: `executor_error`, resolved by a probe.
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
                log.append("The effect was already there when another worker took over.")
                return AttemptResult(Outcome(True, "recovered", facts={"recovered": True}), found, log)
            if found == Probe.UNKNOWN:
                return AttemptResult(Outcome(False, "in_doubt", "Unknown whether the step took effect."), found, log)
        if context.is_breaking_off:
            return AttemptResult(Outcome(False, "stopped", "Another step failed before this one."), Probe.NOT_DONE, log)
        if (again or resumed) and context.action.stop_requested_at is not None:
            return AttemptResult(Outcome(False, "stopped", "Not retried: the run stops."), Probe.NOT_DONE, log)
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
    except Exception as exc:  # an executor is third-party code: its exceptions are the step's outcome
        outcome = Outcome(False, "executor_error", f"{type(exc).__name__}: {exc}")
    if outcome.ok:
        return AttemptResult(outcome, None, log)
    untouched = outcome.code == PRECONDITION or context.action.simulated
    return AttemptResult(outcome, Probe.NOT_DONE if untouched else probe_effect(context, ctx), log)


def stricter_verdict(context: ActionContext) -> Verdict | None:
    """The verdict of a checkpoint that no longer lets the run continue; None while it does."""
    if not context.facts:
        return None
    asked = context.plan.verdict
    verdict = evaluate(context.facts, context.rules, context.now)
    return verdict if is_stricter(verdict, asked["required_approvals"], asked["outcome"]) else None


def describe_stricter(verdict: Verdict, asked: dict[str, Any]) -> str:
    """The reasons of a verdict that the approved verdict did not have."""
    harsher = [r for r in verdict.reasons if r["effect"] in ("deny", "require")]
    new = [f"{r['rule']}: {r['message']}" for r in harsher if r not in asked.get("reasons", [])]
    return " ".join(new) or "The verdict became stricter than the approved one."


def probe_effect(context: ActionContext, ctx: StepContext) -> Probe:
    try:
        return context.executor.probe(ctx)
    except Exception as exc:  # a failed probe says nothing
        ctx.log(f"The probe failed: {type(exc).__name__}: {exc}")
        return Probe.UNKNOWN


def step_context(
    context: ActionContext,
    step: dict[str, Any],
    deadline: float,
    images: dict[str, bytes] | None = None,
    attempt: int = 0,
) -> tuple[StepContext, list[str]]:
    """
    The executor's context for one attempt, and the list for its log lines.

    With `images` the attempt undoes. A mere probe (attempt 0) has no transcript that people see.
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


# Journal entries, and their events.


Kind = JournalEntry.Kind


def intent_entry(context: ActionContext, step: dict[str, Any], kind: Kind = Kind.INTENT) -> JournalEntry:
    record = context.journal[step["key"]]
    attempt = (record.attempt if kind == Kind.INTENT else record.undo_attempt) + 1
    return journal_entry(context, step, kind, attempt)


def journal_entry(context: ActionContext, step: dict[str, Any], kind: Kind, attempt: int, **more: Any) -> JournalEntry:
    return JournalEntry(
        action_id=context.action.pk,
        plan_id=context.plan.pk,
        step=step["key"],
        attempt=attempt,
        kind=kind,
        lease=context.lease,
        **more,
    )


def receipt_note(step: dict[str, Any], receipt: JournalEntry, result: AttemptResult, verb: str = "step.done") -> Note:
    facts: dict[str, Any] = {"step": step["key"], "attempt": receipt.attempt, "key": step["idempotency_key"]}
    facts |= usage_facts(result.metrics)
    if result.outcome.code:
        facts["code"] = result.outcome.code
    return Note(verb, facts)


def failure_entry(
    context: ActionContext, step: dict[str, Any], result: AttemptResult, kind: Kind = Kind.FAILURE
) -> JournalEntry:
    record = context.journal[step["key"]]
    facts = {
        "code": result.outcome.code,
        "message": result.outcome.message,
        "probe": str(result.probe or ""),
        "effect": result.probe == Probe.DONE,
        **result.outcome.facts,
    }
    attempt = record.attempt if kind == Kind.FAILURE else record.undo_attempt
    if not result.log:  # a timed-out attempt still writes: keep its lines so far
        result.log = list(context.transcripts.get((step["key"], attempt, kind != Kind.FAILURE), ()))
    return journal_entry(context, step, kind, attempt, facts=facts, **log_and_metrics(result))


def log_and_metrics(result: AttemptResult) -> dict[str, Any]:
    """The log and usage for the journal entry that ends an attempt."""
    return {"log": "\n".join(result.log), "metrics": result.metrics}


def failure_note(step: dict[str, Any], failed: JournalEntry, result: AttemptResult, verb: str = "step.failed") -> Note:
    facts = {
        "step": step["key"],
        "attempt": failed.attempt,
        "code": result.outcome.code,
        "probe": str(result.probe or ""),
        **usage_facts(result.metrics),
    }
    return Note(verb, facts, {"message": result.outcome.message}, outcome="failed")
