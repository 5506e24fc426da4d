"""
Run the steps of a plan: intent → effect → receipt, in parallel where the order allows, obeying a stop at each step.
"""

import math
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actions.lifecycle.context import (
    ActionContext,
    AwaitEffects,
    EffectResult,
    EffectTimeout,
    StartEffect,
    WorkflowRequest,
    commit_durably,
)
from actions.lifecycle.transitions import Note, Transition
from actions.models import JournalEntry
from actions.preflight.workflow import changed_verdict_notes
from actions.run.attempt import (
    POLICY,
    AttemptResult,
    attempt_step,
    failure_entry,
    failure_note,
    intent_entry,
    journal_entry,
    log_and_metrics,
    receipt_note,
)
from actions.run.retry import (
    BUDGET,
    counted_steps,
    decide_failures,
    decision_facts,
    has_fallback_step,
    needs_fallback_action,
    retry_facts,
)
from actions.run.stop import describe_stop, handle_watch, start_watching, stop_outcome
from actions.run.verify import check_before_irreversible, no_return_notes, startable_steps, unhealthy_error
from actions.types.protocol import Outcome, Probe
from actions.types.shared.recovery_policy import RetryDecision

ACTOR = "system:execute"
Kind = JournalEntry.Kind
MAX_PARALLEL_STEPS = 4
"""Steps of one action that run at once, at most."""
TIMEOUT_GRACE_S = 10.0
"""How long after its deadline an effect may still end before it counts as timed out."""
MAX_HELD_WAIT_S = 5.0
"""A longer wait with nothing else to do releases the action."""
REPEATED_CODES = frozenset({"settled", POLICY, "stopped"})
"""Failures that a resumed run tries again: resolved by a person, a policy that may have changed, a stop."""
STOPPING = "stopping"
"""Why a failure was not retried: the run was to stop. A resumed run tries it again."""
Step = dict[str, Any]


def run_steps(context: ActionContext, deadline: float) -> Generator[WorkflowRequest, Any, None]:
    """
    Run the steps that the journal does not record as done; end in verifying, or in a safe state once nothing runs.
    """
    running: dict[str, Step] = {}
    context.is_breaking_off = bool(failed_steps(context))
    for step in [s for s in context.steps if context.journal[s["key"]].state == "open"]:
        running[step["key"]] = step
        yield start_attempt(
            context, step, deadline, resumed=step["key"] in context.opened_earlier, again=is_due_later(context, step)
        )
    yield from start_watching(context)
    while context.action.state == "in_progress":
        results: list[tuple[Step, AttemptResult]] = []
        if running:
            ended = yield AwaitEffects()
            results = [(running.pop(key), attempt_result(result)) for key, result in ended if key in running]
            yield from handle_watch(context, ended, [attempted.outcome for _, attempted in results])
            if not results:
                continue
        else:
            yield from check_before_irreversible(context, next_steps(context))
        decide_failures(context, results, deadline)
        written = yield from commit_durably(context, partial(next_transition, context, results, frozenset(running)))
        if context.action.state != "in_progress" or context.action.lease_id is None:
            return
        for step, again in started_by(context, written):
            running[step["key"]] = step
            yield start_attempt(context, step, deadline, again=again)


def start_attempt(
    context: ActionContext, step: Step, deadline: float, *, resumed: bool = False, again: bool = False
) -> StartEffect:
    """The effect of one attempt, until the step's deadline or the action's, whichever comes first."""
    call = partial(attempt_step, context, step, deadline, resumed, again)
    due = context.journal[step["key"]].retry_at if again else None
    delay = max(0.0, (due - context.now).total_seconds()) if due else 0.0
    left = max(0.0, deadline - time.monotonic() - delay)
    return StartEffect(
        step["key"], call, overdue_s=min(step.get("timeout_s") or left, left) + TIMEOUT_GRACE_S, delay_s=delay
    )


def is_due_later(context: ActionContext, step: Step) -> bool:
    """Whether an open step waits for its retry: the time is in the facts of its intent."""
    due = context.journal[step["key"]].retry_at
    return due is not None and due > context.now


def attempt_result(result: EffectResult) -> AttemptResult:
    if isinstance(result.error, EffectTimeout):
        words = "The step timed out and may still be running. Check the target."
        return AttemptResult(Outcome(False, "overran", words), Probe.UNKNOWN)
    if result.error is not None:
        raise result.error
    attempted: AttemptResult = result.value
    return attempted


def started_by(context: ActionContext, written: Transition) -> list[tuple[Step, bool]]:
    """The steps whose intent was committed, and whether it is for a retry."""
    kinds: dict[str, set[str]] = {}
    for entry in written.journal_entries:
        kinds.setdefault(entry.step, set()).add(str(entry.kind))
    return [(s, "failure" in kinds[s["key"]]) for s in context.steps if "intent" in kinds.get(s["key"], set())]


@dataclass
class StepTransition:
    """The content of one transition of a run."""

    context: ActionContext
    notes: list[Note] = field(default_factory=list)
    lines: list[JournalEntry] = field(default_factory=list)
    broken: list[tuple[Step, AttemptResult]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    """Steps that need nothing more: done, skipped, or replaced by a fallback step."""
    superseded: set[str] = field(default_factory=set)
    """Failed steps that their fallback step replaces."""
    again: set[str] = field(default_factory=set)
    has_effect: bool = False

    def settle(self, step: Step) -> None:
        """Count a step, and those that it replaces, as needing nothing more."""
        by_key = {s["key"]: s for s in self.context.steps}
        key: str | None = step["key"]
        while key is not None and key not in self.done:
            self.done.add(key)
            key = by_key[key].get("fallback_for")

    def is_over(self) -> bool:
        """Whether no step needs anything more; a fallback step counts only once it is needed."""
        return all(s["key"] in self.done or is_unused_fallback(s, self.superseded) for s in self.context.steps)


def next_transition(
    context: ActionContext, results: list[tuple[Step, AttemptResult]], running: frozenset[str]
) -> Transition:
    """
    Commit the results, with the intents of the next steps or with the next state of the run.

    After a final failure nothing more starts; parallel attempts end before anything is undone.
    """
    builder = StepTransition(context, done=context.journal.settled(context.steps), superseded=superseded_steps(context))
    for step, attempted in results:
        _record_result(builder, step, attempted)
    stays = running | builder.again
    known = [*failed_steps(context), *builder.broken]
    context.is_breaking_off = bool(known and stays)
    if not stays:
        if known:
            return failure_transition(builder, known)
        if context.action.stop_requested_at:
            return stop_transition(builder)
        if builder.is_over():
            return _write(builder, "verify")
    if not known and not context.action.stop_requested_at:
        free = ready_steps(context.steps, builder.done, stays | {s["key"] for s, _ in results}, builder.superseded)
        if not stays and (error := unhealthy_error(context, free)):
            return rollback_transition(builder, error)
        fresh = startable_steps(context, free, len(stays))[: MAX_PARALLEL_STEPS - len(stays)]
        builder.lines += [intent_entry(context, step) for step in fresh]
        builder.notes += no_return_notes(context, fresh)
        if builder.again and not running and not fresh and (wait := shortest_wait(builder, results)) > MAX_HELD_WAIT_S:
            return _write(builder, release=True, sets={"wake_s": math.ceil(wait)})
        if not builder.notes:  # intents only: a worker took over between two steps
            builder.notes = [Note("step.started", {"step": step["key"]}) for step in fresh]
    return _write(builder)


def shortest_wait(builder: StepTransition, results: list[tuple[Step, AttemptResult]]) -> float:
    """Seconds until the first retry."""
    return min(attempted.wait_s for step, attempted in results if step["key"] in builder.again)


def next_steps(context: ActionContext) -> list[Step]:
    """The ready steps while nothing runs, by the journal; none if the run is to stop or roll back."""
    if context.action.stop_requested_at or failed_steps(context):
        return []
    return ready_steps(context.steps, context.journal.settled(context.steps), set(), superseded_steps(context))


def ready_steps(
    steps: list[Step],
    done: set[str],
    taken: frozenset[str] | set[str],
    superseded: frozenset[str] | set[str] = frozenset(),
) -> list[Step]:
    """
    The steps that may start now, in the plan's order: not started, and all earlier ones are done.

    A fallback step starts only once its step is in `superseded`.
    """
    out = {*done, *taken, *superseded}
    return [
        s
        for s in steps
        if s["key"] not in out and not is_unused_fallback(s, superseded) and set(s.get("after") or ()) <= done
    ]


def is_unused_fallback(step: Step, superseded: frozenset[str] | set[str]) -> bool:
    """Whether a step is the fallback of a step that has not failed."""
    return bool(step.get("fallback_for")) and step["fallback_for"] not in superseded


def superseded_steps(context: ActionContext) -> set[str]:
    """The steps that a fallback step replaces, by the journal."""
    return {s["fallback_for"] for s in context.steps if s.get("fallback_for")} & context.journal.superseded()


def failed_steps(context: ActionContext) -> list[tuple[Step, AttemptResult]]:
    """Steps with a final failure, by the journal: in parallel to running ones, or before a crash."""
    found = []
    superseded = superseded_steps(context)
    for step in context.steps:
        record = context.journal[step["key"]]
        code = record.facts.get("code", "")
        is_final = code not in REPEATED_CODES and record.facts.get("why") != STOPPING
        if record.state == "failed" and is_final and step["key"] not in superseded:
            probe = Probe(record.facts["probe"]) if record.facts.get("probe") else None
            decision = RetryDecision(record.facts.get("strategy", "abort"), record.facts.get("why", ""))
            found.append(
                (step, AttemptResult(Outcome(False, code, record.facts.get("message", "")), probe, decision=decision))
            )
    return found


def _record_result(builder: StepTransition, step: Step, attempted: AttemptResult) -> None:
    context = builder.context
    if attempted.outcome.ok:
        attempt = context.journal[step["key"]].attempt
        receipt = journal_entry(
            context, step, Kind.RECEIPT, attempt, facts=attempted.outcome.facts, **log_and_metrics(attempted)
        )
        builder.lines.append(receipt)
        builder.notes.append(receipt_note(step, receipt, attempted))
        builder.settle(step)
        builder.has_effect = True
    else:
        _record_failure(builder, step, attempted)


def _record_failure(builder: StepTransition, step: Step, attempted: AttemptResult) -> None:
    """Carry out the decision on a failed attempt, unless the run is to stop."""
    context, stopping = builder.context, builder.context.is_breaking_off or builder.context.action.stop_requested_at
    chosen = "abort" if stopping or attempted.decision is None else attempted.decision.strategy
    failed = failure_entry(context, step, attempted)
    cut_off = stopping and attempted.decision is not None and attempted.decision.strategy == "retry"
    why = decision_facts(RetryDecision("abort", STOPPING) if cut_off else attempted.decision)
    failed.facts = {**failed.facts, **why}
    told = failure_note(step, failed, attempted)
    told.facts = {**told.facts, **why}
    builder.lines.append(failed)
    builder.notes.append(told)
    if chosen == "retry":
        builder.lines.append(
            journal_entry(context, step, Kind.INTENT, failed.attempt + 1, facts=retry_facts(context, attempted.wait_s))
        )
        builder.again.add(step["key"])
    elif chosen == "skip":
        builder.lines.append(journal_entry(context, step, Kind.SKIP, failed.attempt))
        builder.notes.append(Note("step.skipped", {"step": step["key"], "code": attempted.outcome.code}))
        builder.settle(step)
    elif chosen == "fallback" and has_fallback_step(context, step):
        builder.superseded.add(step["key"])
    else:
        builder.broken.append((step, attempted))
        builder.has_effect = builder.has_effect or attempted.probe == Probe.DONE


def failure_transition(builder: StepTransition, broken: list[tuple[Step, AttemptResult]]) -> Transition:
    """After a final failure: hold if a step is in doubt, else undo what was done, or fail if nothing was."""
    context = builder.context
    for step, attempted in broken:
        if attempted.probe in (None, Probe.UNKNOWN) or attempted.outcome.code == POLICY:
            reason = "policy" if attempted.outcome.code == POLICY else "in_doubt"
            codes = [t.outcome.code for _, t in broken]
            facts = {"reason": reason, "step": step["key"], "stopped": describe_stop(context, codes)}
            sets = {"held_reason": reason, "error": error_of(attempted.outcome, step)}
            if attempted.verdict is not None:
                builder.notes += changed_verdict_notes(context, attempted.verdict, context.facts, "checkpoint")
            return _write(builder, "hold", facts=facts, sets=sets, release=True)
    if context.action.stop_requested_at:
        return stop_transition(builder)
    step, attempted = broken[0]
    transition = rollback_transition(builder, error_of(attempted.outcome, step, attempted.decision))
    if needs_fallback_action(context, [attempted.decision for _, attempted in broken]):
        transition.sets["fallback_due"] = True
    return transition


def stop_transition(builder: StepTransition) -> Transition:
    """Make the transition that the stop request asks for."""
    halt = stop_outcome(builder.context, [attempted.outcome.code for _, attempted in builder.broken])
    if halt.verb:
        return _write(builder, halt.verb, facts=halt.facts, sets=halt.sets, release=halt.verb == "hold")
    return rollback_transition(builder, halt.error, **halt.facts)


def rollback_transition(builder: StepTransition, error: dict[str, Any], **facts: Any) -> Transition:
    """Roll back what the journal and this transition record as done; fail if there is nothing to undo."""
    context = builder.context
    undo = (builder.has_effect or bool(context.journal.with_effect(context.steps))) and context.changes_something
    return _write(
        builder,
        "roll_back" if undo else "fail",
        facts={"because": error["code"], **facts},
        sets={"error": error},
        release=not undo,
        outcome="ok" if undo else "failed",
    )


def _write(builder: StepTransition, verb: str = "", *, sets: dict[str, Any] | None = None, **more: Any) -> Transition:
    ended = any(c.kind in (Kind.RECEIPT, Kind.SKIP) for c in builder.lines)
    counted = (
        {"steps_done": len(builder.done & {s["key"] for s in counted_steps(builder.context.steps)})} if ended else {}
    )
    both = {**counted, **(sets or {})}
    return Transition(
        builder.context.action, verb, by=ACTOR, notes=builder.notes, journal_entries=builder.lines, sets=both, **more
    )


def error_of(outcome: Outcome, step: Step, decision: RetryDecision | None = None) -> dict[str, Any]:
    if decision is not None and decision.why == BUDGET:
        message = f"The retry budget of its target is used up. Last error, {outcome.code}: {outcome.message}"
        return {"code": BUDGET, "message": message, "details": {"step": step["key"], "cause": outcome.code}}
    return {"code": outcome.code, "message": outcome.message, "details": {"step": step["key"], **outcome.facts}}
