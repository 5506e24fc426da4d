"""What to do about a step that failed: a pure decision by the plan's policy, and how long to wait before a retry."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actions.recovery import DEFAULT, OURS
from actions.types.protocol import Probe

RETRIES = 10
"""Of one action, over all its steps: what is worth more trouble is worth a person's look."""


@dataclass(frozen=True)
class Decision:
    """`strategy`: retry, fallback, skip or abort; or hold, where it is not known what the attempt left behind."""

    strategy: str
    why: str


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
) -> Decision:
    """
    Choose what to do about a failed attempt. Pure.

    `attempts` counts those made so far, this one included. Only `NOT_DONE` from the probe lets anything go on: a step
    of which nobody can tell holds the action, one whose effect is there in spite of its failure is undone with the
    rest. An unmapped code is tried again if its outcome says that this may help. Aborts where the chosen strategy is
    not to be had: no attempt left, nothing to fall back to, a step that may not be left out.
    """
    policy = policy or DEFAULT
    if probe not in (Probe.DONE, Probe.NOT_DONE):
        return Decision("hold", "in_doubt")
    if probe == Probe.DONE:
        return Decision("abort", "effect_is_there")
    if stopping:
        return Decision("abort", "stopping")
    if code in OURS:
        return Decision("abort", "final")
    strategy = policy["strategies"].get(code) or ("retry" if retryable else "abort")
    if strategy == "retry" and attempts >= policy["max_attempts"]:
        return Decision("abort", "attempts")
    if strategy == "fallback" and not can_fall_back:
        return Decision("abort", "no_fallback")
    if strategy == "skip" and not may_skip:
        return Decision("abort", "may_not_skip")
    return Decision(strategy, "policy" if code in policy["strategies"] else "default")


def longest_wait_s(policy: Mapping[str, Any], attempts: int) -> float:
    """The most that a retry waits after so many attempts; linear grows by the first wait, exponential doubles it."""
    policy = policy or DEFAULT
    first, most = float(policy["delay_s"]), float(policy["max_delay_s"])
    grown = first * attempts if policy["backoff"] == "linear" else first * 2.0 ** min(attempts - 1, 32)
    return min(most, grown)


def wait_s(policy: Mapping[str, Any], attempts: int) -> float:
    """How long to wait before the next attempt: anything up to the longest, so that many do not return as one."""
    return random.uniform(0, longest_wait_s(policy, attempts))  # spreads load, guards no secret
