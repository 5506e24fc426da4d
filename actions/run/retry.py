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
"""Spread over so long are the retries that wait for a breaker."""


def decide_failures(context: ActionContext, results: list[tuple[Step, AttemptResult]], deadline: float) -> None:
    """
    Decide what to do about each attempt that failed, and note it there; tell the breaker how all of them went.

    In the main thread and outside any write, because a write may be made twice. Costs nothing where nothing fails, now
    or at this target before.
    """
    outcomes = [tried.outcome for _, tried in results]
    breaker = None
    if context.has_failures or not all(outcome.ok for outcome in outcomes):
        breaker = circuit_breaker.record_outcomes(context.action, context.executor, outcomes)
        context.has_failures = breaker is not None and (
            breaker.failures > 0 or breaker.state != CircuitBreaker.State.CLOSED
        )
    for step, tried in results:
        if not tried.outcome.ok:
            tried.decision, tried.wait_s = _decide(context, step, tried, breaker, deadline)


def _decide(
    context: ActionContext, step: Step, tried: AttemptResult, breaker: CircuitBreaker | None, deadline: float
) -> tuple[RetryDecision, float]:
    policy, attempts = context.plan.recovery, context.journal[step["key"]].attempt
    chosen = determine_strategy(
        policy,
        code=tried.outcome.code,
        retryable=tried.outcome.retryable,
        probe=tried.probe,
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
    """Whether a step of the plan stands in for this one, or an action may be proposed instead."""
    return has_fallback_step(context, step) or bool((context.plan.recovery or {}).get("fallback"))


def has_fallback_step(context: ActionContext, step: Step) -> bool:
    return any(s.get("fallback_for") == step["key"] for s in context.steps)


def needs_fallback_action(context: ActionContext, decisions: list[RetryDecision | None]) -> bool:
    """Whether an action is to be proposed in place of this one, once that has gone back."""
    fallback = (context.plan.recovery or {}).get("fallback")
    return (
        bool(fallback)
        and not context.action.simulated
        and any(d is not None and d.strategy == "fallback" for d in decisions)
    )


def counted_steps(steps: list[Step]) -> list[Step]:
    """The steps that progress counts: those that only stand in for others add nothing to be done."""
    return [s for s in steps if not s.get("fallback_for")]


def decision_facts(decision: RetryDecision | None) -> dict[str, str]:
    """A decision, for the facts of the failure that it is about."""
    return {"strategy": decision.strategy, "why": decision.why} if decision else {}


def retry_facts(context: ActionContext, wait: float) -> dict[str, Any]:
    """When a retry begins, for the facts of its intent; on the database's clock."""
    return {"retry_at": (context.now + timedelta(seconds=wait)).isoformat(), "wait_s": round(wait, 3)}


# What to do about a step that failed: a pure decision by the plan's policy, and how long to wait before a retry.


MAX_RETRIES = 10
"""Of one action, over all its steps: what is worth more trouble is worth a person's look."""


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

    `attempts` counts those made so far, this one included. Only `NOT_DONE` from the probe lets anything go on: a step
    of which nobody can tell holds the action, one whose effect is there in spite of its failure is undone with the
    rest. An unmapped code is tried again if its outcome says that this may help. Aborts where the chosen strategy is
    not to be had: no attempt left, nothing to fall back to, a step that may not be left out.
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
    """The most that a retry waits after so many attempts; linear grows by the first wait, exponential doubles it."""
    policy = policy or DEFAULT_POLICY
    first, most = float(policy["delay_s"]), float(policy["max_delay_s"])
    grown = first * attempts if policy["backoff"] == "linear" else first * 2.0 ** min(attempts - 1, 32)
    return min(most, grown)


def random_wait_s(policy: Mapping[str, Any], attempts: int) -> float:
    """How long to wait before the next attempt: anything up to the longest, so that many do not return as one."""
    return random.uniform(0, longest_wait_s(policy, attempts))  # spreads load, guards no secret
