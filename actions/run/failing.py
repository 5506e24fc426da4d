"""What comes of attempts that failed: the plan's policy, the breaker of the target and the budgets, asked once each."""

import random
import time
from datetime import timedelta
from typing import Any

from actions.case import Case
from actions.models import Breaker
from actions.run import breakers, budget
from actions.run.attempt import Tried
from actions.run.recovery import RETRIES, Decision, determine_strategy, wait_s

Step = dict[str, Any]
BUDGET = "retry_budget"
AFTER_OPEN_S = 2.0
"""Spread over so long are the retries that wait for a breaker."""


def judge_failures(case: Case, landed: list[tuple[Step, Tried]], deadline: float) -> None:
    """
    Decide what to do about each attempt that failed, and note it there; tell the breaker how all of them went.

    In the main thread and outside any write, because a write may be made twice. Costs nothing where nothing fails, now
    or at this target before.
    """
    outcomes = [tried.outcome for _, tried in landed]
    breaker = None
    if case.is_troubled or not all(outcome.ok for outcome in outcomes):
        breaker = breakers.told(case.action, case.executor, outcomes)
        case.is_troubled = breaker is not None and (breaker.failures > 0 or breaker.state != Breaker.State.CLOSED)
    for step, tried in landed:
        if not tried.outcome.ok:
            tried.decision, tried.wait_s = _decided(case, step, tried, breaker, deadline)


def _decided(case: Case, step: Step, tried: Tried, breaker: Breaker | None, deadline: float) -> tuple[Decision, float]:
    policy, attempts = case.plan.recovery, case.ledger[step["key"]].attempt
    chosen = determine_strategy(
        policy,
        code=tried.outcome.code,
        retryable=tried.outcome.retryable,
        probe=tried.probe,
        attempts=attempts,
        can_fall_back=has_fallback(case, step),
        may_skip=step.get("may_skip") is not False,
        stopping=case.is_breaking_off or case.action.stop_requested_at is not None,
    )
    if chosen.strategy != "retry":
        return chosen, 0.0
    wait = wait_s(policy, attempts)
    if breaker is not None and breaker.state != Breaker.State.CLOSED:
        if step.get("idempotent") is False:
            return Decision("abort", "breaker_open"), 0.0
        shut_s = (breaker.open_until - case.now).total_seconds() if breaker.open_until else 0.0
        wait = max(wait, shut_s + random.uniform(0, AFTER_OPEN_S))
    if time.monotonic() + wait >= deadline:
        return Decision("abort", "no_time"), 0.0
    if case.ledger.retries() >= RETRIES or not budget.take(case.action, step):
        return Decision("abort", BUDGET), 0.0
    return chosen, wait


def has_fallback(case: Case, step: Step) -> bool:
    """Whether a step of the plan stands in for this one, or an action may be proposed instead."""
    return stands_in(case, step) or bool((case.plan.recovery or {}).get("fallback"))


def stands_in(case: Case, step: Step) -> bool:
    return any(s.get("fallback_for") == step["key"] for s in case.steps)


def falls_back(case: Case, decisions: list[Decision | None]) -> bool:
    """Whether an action is to be proposed in place of this one, once that has gone back."""
    fallback = (case.plan.recovery or {}).get("fallback")
    return (
        bool(fallback)
        and not case.action.simulated
        and any(d is not None and d.strategy == "fallback" for d in decisions)
    )


def counted_steps(steps: list[Step]) -> list[Step]:
    """The steps that progress counts: those that only stand in for others add nothing to be done."""
    return [s for s in steps if not s.get("fallback_for")]


def said(decision: Decision | None) -> dict[str, str]:
    """A decision, for the facts of the failure that it is about."""
    return {"strategy": decision.strategy, "why": decision.why} if decision else {}


def next_try(case: Case, wait: float) -> dict[str, Any]:
    """When a retry begins, for the facts of its intent; on the database's clock."""
    return {"retry_at": (case.now + timedelta(seconds=wait)).isoformat(), "wait_s": round(wait, 3)}
