"""Why a run stops early and what happens then: stopped by a person, a freeze, its watchdog, or an internal error."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actions.controls.freeze import FREEZE
from actions.lifecycle.context import (
    ActionContext,
    EffectResult,
    StartEffect,
    Workflow,
    WorkflowRequest,
    commit_durably,
)
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action
from actions.preflight.plan import sanitize, sanitize_text
from actions.types.shared.checks import checks_during_run, run_checks

ABORTED: dict[str, Any] = {"code": "aborted", "message": "A person aborted the run.", "details": {}}
SPIKE, CHECKPOINT = "risk_spike", "checkpoint"
AT_CHECKPOINT, CANCELLED = "at_checkpoint", "cancelled_attempt"
STOP_FIELDS = ("stop_requested_at", "stop_reason", "rollback_to")


def copy_stop_request(ours: Action, theirs: Action) -> None:
    """Copy a stop request from the database; `stop_requested_at` last, because other threads read it."""
    ours.stop_reason, ours.rollback_to = theirs.stop_reason, theirs.rollback_to
    ours.stop_requested_at = theirs.stop_requested_at


@dataclass(frozen=True)
class StopOutcome:
    """The outcome of a stop: the verb that moves the run; without one it rolls back wholly, as after a failure."""

    error: dict[str, Any]
    verb: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, Any] = field(default_factory=dict)


def stop_outcome(context: ActionContext, ended_codes: Iterable[str] = ()) -> StopOutcome:
    """The outcome of a stop once nothing runs; `ended_codes` are those of attempts that ended just now."""
    action = context.action
    how = describe_stop(context, ended_codes)
    if action.stop_reason == CHECKPOINT and action.rollback_to:
        facts = {"because": CHECKPOINT, "back_to": action.rollback_to, "stopped": how}
        return StopOutcome({}, "roll_back", facts)
    if action.stop_reason == FREEZE:
        return StopOutcome({}, "hold", {"reason": FREEZE, "stopped": how}, {"held_reason": FREEZE})
    error = {**(spike_error(action.error) if action.stop_reason == SPIKE else ABORTED)}
    error["details"] = {**error["details"], "stopped": how}
    if action.stop_reason == SPIKE and action.watch.get("then", "hold") == "hold":
        return StopOutcome(error, "hold", {"reason": SPIKE, "stopped": how}, {"held_reason": SPIKE, "error": error})
    return StopOutcome(error, "", {"stopped": how})


def describe_stop(context: ActionContext, ended_codes: Iterable[str] = ()) -> str:
    """Whether an attempt was cancelled, or the run ended between two of them."""
    cut = any(r.state == "failed" and r.facts.get("code") == STOPPED_EARLY for r in context.journal.records.values())
    return CANCELLED if cut or STOPPED_EARLY in ended_codes else AT_CHECKPOINT


def spike_error(error: dict[str, Any] | None) -> dict[str, Any]:
    """The error of a risk spike, from the facts of its stop request."""
    if error and error.get("code") == SPIKE:
        return error
    return {"code": SPIKE, "message": "A check failed during the run.", "details": {}}


# Actions that cannot be run.


STOPPED_EARLY = "stopped"
"""The code of a step that ended early because `stopping()` became true."""


def abandon(context: ActionContext, code: str, message: str) -> Workflow:
    """End an action that cannot be run: hold it for a person if it may have had an effect, else fail it."""
    context.is_breaking_off = True
    begun = context.action.state in ("in_progress", "verifying", "rolling_back")
    sets: dict[str, Any] = {"error": {"code": code, "message": message, "details": {}}}
    verb = "hold" if begun else "fail"
    if begun:
        sets["held_reason"] = code
    by, private = "system:runner", {"message": message}
    yield from commit_durably(
        context,
        lambda: Transition(context.action, verb, by=by, facts={"code": code}, private=private, sets=sets, release=True),
    )


def has_stopped_early(result: EffectResult) -> bool:
    """Whether a step ended early because its worker stops."""
    return getattr(getattr(result.value, "outcome", None), "code", "") == STOPPED_EARLY


# The watchdog: checks during the run, and the error rate of attempts.


ACTOR = "system:execute"
WATCH = "\x00watch"
"""The key of the watchdog among the effects of a run; no step has it."""
EVERY_S = 15
MIN_ATTEMPTS = 4
"""With fewer attempts the error rate says nothing."""


def start_watching(context: ActionContext) -> Generator[WorkflowRequest, Any, None]:
    """Start the checks after the next interval, if there are any."""
    checks = checks_during_run(context.action.checks)
    if checks and not context.action.simulated and not context.action.stop_requested_at:
        every_s = float(context.action.watch.get("every_s", EVERY_S))
        yield StartEffect(WATCH, partial(run_watch_checks, context, checks, every_s), delay_s=every_s)


def run_watch_checks(context: ActionContext, checks: list[dict[str, Any]], every_s: float) -> list[dict[str, Any]]:
    """Run the checks once, in a thread; return those that failed."""
    return [c for c in sanitize(run_checks(checks, context.target)) if not c["ok"]]


def handle_watch(
    context: ActionContext, ended: Sequence[tuple[str, EffectResult]], outcomes: Sequence[Any]
) -> Generator[WorkflowRequest, Any, None]:
    """Record failed checks and ended attempts; on a risk spike, request a stop of the run."""
    count_attempts(context, outcomes)
    facts = too_many_failures(context)
    for key, result in ended:
        if key != WATCH:
            continue
        bad = [{"name": "watch", "detail": sanitize_text(str(result.error))}] if result.error else result.value
        if bad:
            facts = facts or {"why": "checks", "checks": [str(c["name"]) for c in bad]}
        else:
            yield from start_watching(context)
    if facts and not context.action.stop_requested_at:
        yield from commit_durably(context, partial(spike_transition, context, facts))


def count_attempts(context: ActionContext, outcomes: Sequence[Any]) -> None:
    """Count attempts that ended by themselves; cancelled ones do not count."""
    own = [o for o in outcomes if o.code != STOPPED_EARLY]
    context.attempts += len(own)
    context.failures += sum(not o.ok for o in own)


def too_many_failures(context: ActionContext) -> dict[str, Any]:
    """The facts of an error rate above the submission's; empty while it is below."""
    most = context.action.watch.get("error_rate")
    if most is None or context.attempts < MIN_ATTEMPTS or context.failures <= most * context.attempts:
        return {}
    return {"why": "error_rate", "attempts": context.attempts, "failures": context.failures}


def spike_transition(context: ActionContext, facts: dict[str, Any]) -> Transition:
    """The stop request, unless another one came first."""
    spike = Note("risk.spiked", facts, outcome="failed")
    if context.action.stop_requested_at:
        return Transition(context.action, by=ACTOR, notes=[spike])
    error = {"code": SPIKE, "message": describe_spike(facts), "details": facts}
    return Transition(context.action, by=ACTOR, notes=[spike], stop=True, sets={"stop_reason": SPIKE, "error": error})


def describe_spike(facts: dict[str, Any]) -> str:
    if facts["why"] == "error_rate":
        return f"{facts['failures']} of {facts['attempts']} attempts failed: above the allowed error rate."
    return f"Checks failed during the run: {', '.join(facts['checks'])}."
