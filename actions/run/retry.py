"""Decide on failed attempts: retry, skip, fall back or abort; and how long a retry waits."""

import random
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from actions.controls import circuit_breaker, limits
from actions.lifecycle.context import ActionContext
from actions.models import CircuitBreaker
from actions.run.attempt import AttemptResult
from actions.types.protocol import Probe
from actions.types.shared.recovery_policy import DEFAULT_POLICY, INTERLOCK_CODES, RetryDecision

Step = dict[str, Any]
BUDGET = "retry_budget"
AFTER_OPEN_S = 2.0
"""The period over which retries that wait for a breaker are spread."""


def decide_failures(context: ActionContext, results: list[tuple[Step, AttemptResult]], deadline: float) -> None:
    """
    Decide what to do about each failed attempt, and note it there; report all results to the breaker.

    In the main thread and outside any transaction, because a transition may be made twice. Costs nothing where nothing
    fails, now or recently at this target.
    """
    outcomes = [attempted.outcome for _, attempted in results]
    breaker = None
    if context.has_failures or not all(outcome.ok for outcome in outcomes):
        breaker = circuit_breaker.record_outcomes(context.action, context.executor, outcomes)
        context.has_failures = breaker is not None and (
            breaker.failures > 0 or breaker.state != CircuitBreaker.State.CLOSED
        )
    for step, attempted in results:
        if not attempted.outcome.ok:
            attempted.decision, attempted.wait_s = _decide(context, step, attempted, breaker, deadline)


def _decide(
    context: ActionContext, step: Step, attempted: AttemptResult, breaker: CircuitBreaker | None, deadline: float
) -> tuple[RetryDecision, float]:
    policy, attempts = context.plan.recovery, context.journal[step["key"]].attempt
    chosen = determine_strategy(
        policy,
        code=attempted.outcome.code,
        retryable=attempted.outcome.retryable,
        probe=attempted.probe,
        attempts=attempts,
        can_fall_back=has_fallback(context, step),
        may_skip=step.get("may_skip") is not False,
        stopping=context.is_breaking_off or context.action.stop_requested_at is not None,
    )
    if chosen.strategy != "retry":
        return chosen, 0.0
    wait = random_wait_s(policy, attempts)
    if breaker is not None and breaker.state != CircuitBreaker.State.CLOSED:
        if step.get("idempotent") is False:
            return RetryDecision("abort", "breaker_open"), 0.0
        shut_s = (breaker.open_until - context.now).total_seconds() if breaker.open_until else 0.0
        wait = max(wait, shut_s + random.uniform(0, AFTER_OPEN_S))
    if time.monotonic() + wait >= deadline:
        return RetryDecision("abort", "no_time"), 0.0
    if context.journal.retries() >= MAX_RETRIES or not limits.take_token(context.action, step):
        return RetryDecision("abort", BUDGET), 0.0
    return chosen, wait


def has_fallback(context: ActionContext, step: Step) -> bool:
    """Whether this step has a fallback step, or the action a fallback action."""
    return has_fallback_step(context, step) or bool((context.plan.recovery or {}).get("fallback"))


def has_fallback_step(context: ActionContext, step: Step) -> bool:
    return any(s.get("fallback_for") == step["key"] for s in context.steps)


def needs_fallback_action(context: ActionContext, decisions: list[RetryDecision | None]) -> bool:
    """Whether a fallback action is to be proposed once this one is rolled back."""
    fallback = (context.plan.recovery or {}).get("fallback")
    return (
        bool(fallback)
        and not context.action.simulated
        and any(d is not None and d.strategy == "fallback" for d in decisions)
    )


def counted_steps(steps: list[Step]) -> list[Step]:
    """The steps that progress counts: all but fallback steps."""
    return [s for s in steps if not s.get("fallback_for")]


def decision_facts(decision: RetryDecision | None) -> dict[str, str]:
    """A decision, for the facts of its failure."""
    return {"strategy": decision.strategy, "why": decision.why} if decision else {}


def retry_facts(context: ActionContext, wait: float) -> dict[str, Any]:
    """When a retry starts, for the facts of its intent; on the database's clock."""
    return {"retry_at": (context.now + timedelta(seconds=wait)).isoformat(), "wait_s": round(wait, 3)}


# The decision on a failed step by the plan's recovery policy, and the wait before a retry. Pure.


MAX_RETRIES = 10
"""Retries of one action over all its steps; after that a person should look."""


def determine_strategy(
    policy: Mapping[str, Any],
    *,
    code: str,
    retryable: bool,
    probe: Probe | None,
    attempts: int,
    can_fall_back: bool = False,
    may_skip: bool = True,
    stopping: bool = False,
) -> RetryDecision:
    """
    Choose what to do about a failed attempt. Pure.

    `attempts` counts those made so far, this one included. The run continues only if the probe says `NOT_DONE`: a step
    in doubt holds the action, and a failed step with an effect is undone with the rest. An unmapped code is retried if
    its outcome says that this may help. Aborts where the chosen strategy is not available: no attempt left, no
    fallback, a step that must not be skipped.
    """
    policy = policy or DEFAULT_POLICY
    if probe not in (Probe.DONE, Probe.NOT_DONE):
        return RetryDecision("hold", "in_doubt")
    if probe == Probe.DONE:
        return RetryDecision("abort", "effect_is_there")
    if stopping:
        return RetryDecision("abort", "stopping")
    if code in INTERLOCK_CODES:
        return RetryDecision("abort", "final")
    strategy = policy["strategies"].get(code) or ("retry" if retryable else "abort")
    if strategy == "retry" and attempts >= policy["max_attempts"]:
        return RetryDecision("abort", "attempts")
    if strategy == "fallback" and not can_fall_back:
        return RetryDecision("abort", "no_fallback")
    if strategy == "skip" and not may_skip:
        return RetryDecision("abort", "may_not_skip")
    return RetryDecision(strategy, "policy" if code in policy["strategies"] else "default")


def longest_wait_s(policy: Mapping[str, Any], attempts: int) -> float:
    """The longest wait after so many attempts; linear grows by the first wait, exponential doubles it."""
    policy = policy or DEFAULT_POLICY
    first, most = float(policy["delay_s"]), float(policy["max_delay_s"])
    grown = first * attempts if policy["backoff"] == "linear" else first * 2.0 ** min(attempts - 1, 32)
    return min(most, grown)


def random_wait_s(policy: Mapping[str, Any], attempts: int) -> float:
    """How long to wait before the next attempt: random, up to the longest wait, so that retries spread."""
    return random.uniform(0, longest_wait_s(policy, attempts))  # spreads load, guards no secret
