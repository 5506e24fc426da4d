"""The recovery policy of an action: how to treat a failed step, how many attempts, and how long to wait between
them.

A type says what helps against each of its error codes; a submission may say otherwise, within bounds. What comes of
both is part of the plan and of its digest: people approve exactly the policy by which the run will go.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actions.types.protocol import Executor, Issue, error, warning

STRATEGIES = ("retry", "fallback", "skip", "abort")
MAX_ATTEMPTS = 10
MAX_WAIT_S = 3_600
DEFAULT_POLICY: dict[str, Any] = {
    "max_attempts": 3,
    "backoff": "exponential",
    "delay_s": 0.2,
    "max_delay_s": 5,
    "strategies": {},
    "fallback": None,
}
STRATEGY_TEXTS = {
    "retry": "Tried again after {}.",
    "fallback": "Fallback after {}; without a fallback step, all steps are undone.",
    "skip": "Skipped after {}.",
    "abort": "All is undone after {}.",
}
INTERLOCK_CODES = frozenset(
    {"precondition", "policy", "stopped", "in_doubt", "overran", "settled", "aborted", "retry_budget"}
)
"""Codes by which Interlock itself stops a step: nothing may go on in spite of them, whoever asks for it."""
CODE_PATTERN = r"^[A-Za-z0-9_.:-]{1,120}$"
NUMBER = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S}

recovery_schema: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Recovery",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "max_attempts": {
            "title": "Attempts per step",
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_ATTEMPTS,
            "description": "The first one counts.",
        },
        "backoff": {"title": "Wait between attempts", "enum": ["linear", "exponential"]},
        "delay_s": {"title": "First wait, at most (s)", **NUMBER},
        "max_delay_s": {"title": "Longest wait (s)", **NUMBER},
        "strategies": {
            "title": "By error code",
            "type": "object",
            "maxProperties": 50,
            "description": 'The strategy per error code, such as {"busy": "retry", "io": "abort"}.',
            "propertyNames": {"pattern": CODE_PATTERN},
            "additionalProperties": {"enum": list(STRATEGIES)},
        },
        "fallback": {
            "title": "Action to fall back to",
            "type": "object",
            "additionalProperties": False,
            "required": ["type"],
            "description": "Proposed when this action fails with an error mapped to fallback.",
            "properties": {
                "type": {"title": "Type", "type": "string", "minLength": 1, "maxLength": 64},
                "parameters": {"title": "Parameters", "type": "object"},
                "title": {"title": "Title", "type": "string", "maxLength": 200},
                "reason": {"title": "Reason", "type": "string", "maxLength": 4_000},
                "target": {"title": "Target", "type": "object", "additionalProperties": {"type": "string"}},
                "checks": {"title": "Checks", "type": "array", "maxItems": 50},
                "timeout_s": {"title": "Time limit (s)", "type": "integer", "minimum": 1, "maximum": 86_400},
                "accept": {"title": "Accept its diff in advance", "type": "boolean"},
            },
        },
    },
}


def strategies_of(executor: Executor) -> dict[str, str]:
    """What a type says of its error codes: code → strategy. A class attribute that it need not have."""
    return dict(getattr(executor, "error_strategies", {}))


def check_strategies(executor: object) -> list[str]:
    """What keeps a type's own recovery from being used; empty when nothing does."""
    said, own = getattr(executor, "error_strategies", {}), getattr(executor, "recovery", {})
    faults = []
    if not isinstance(said, dict) or any(s not in STRATEGIES for s in said.values()):
        faults.append(f"error_strategies must map codes to {', '.join(STRATEGIES)}")
    if not isinstance(own, dict) or own.keys() - {"max_attempts", "backoff", "delay_s", "max_delay_s"}:
        faults.append("recovery may have max_attempts, backoff, delay_s and max_delay_s")
    return faults


def merge_policy(executor: Executor, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The policy that a run goes by: what is asked for, else what the type says, else ours. Pure; JSON."""
    said = strategies_of(executor) | dict(asked.get("strategies", {}))
    chosen = {**DEFAULT_POLICY, **getattr(executor, "recovery", {}), **asked}
    return {**{name: chosen[name] for name in DEFAULT_POLICY}, "strategies": dict(sorted(said.items()))}


def recovery_issues(executor: Executor, asked: Mapping[str, Any]) -> Iterator[Issue]:
    """What is wrong with a (schema-valid) policy for this type.

    A submission may be stricter than the type. It may be looser only where the type allows it: `abort` means that a
    retry or a next step would do harm, and Interlock's own error codes cannot be overridden.
    """
    policy, said = merge_policy(executor, asked), strategies_of(executor)
    if policy["delay_s"] > policy["max_delay_s"]:
        yield error(f"The first wait is longer than the longest, {policy['max_delay_s']:g} s.", "recovery.delay_s")
    for code, strategy in asked.get("strategies", {}).items():
        at = f"recovery.strategies.{code}"
        if code in INTERLOCK_CODES:
            yield error(f"Interlock itself stops a step with {code}; leave this out.", at)
        elif strategy != "abort" and said.get(code) == "abort":
            yield error(f"{executor.title} says that after {code} the run must not continue: use abort or skip.", at)
    leads_there = "fallback" in policy["strategies"].values()
    if policy["fallback"] and not leads_there:
        yield error("Never used: name its error codes under strategies.", "recovery.fallback")
    if "fallback" in asked.get("strategies", {}).values() and not policy["fallback"]:
        yield warning(
            "No action to fall back to is given: where the plan has no step for it either, this aborts.",
            "recovery.strategies",
        )


def describe_policy(policy: Mapping[str, Any]) -> list[str]:
    """A policy for people, a sentence each; nothing for a plan that was made before there were any."""
    if not policy:
        return []
    n, first, most = policy["max_attempts"], policy["delay_s"], policy["max_delay_s"]
    how = f"{'growing' if policy['backoff'] == 'linear' else 'doubling'} up to {most:g} s"
    tries = f"A step is tried {n} times at most, after random waits of up to {first:g} s, {how}."
    found = [tries if n > 1 else "A step is tried once."]
    for strategy in STRATEGIES:
        codes = [code for code, s in policy["strategies"].items() if s == strategy]
        if codes:
            found.append(STRATEGY_TEXTS[strategy].format(", ".join(codes)))
    fallback = policy["fallback"]
    if fallback:
        name = fallback.get("title") or fallback["type"]
        found.append(f"If it fails and has no fallback step, all steps are undone and {name} is proposed as an action.")
    return found


@dataclass(frozen=True)
class RetryDecision:
    """`strategy`: retry, fallback, skip or abort; or hold, where it is not known what the attempt left behind."""

    strategy: str
    why: str


ROLLBACK_ORDERS = ("reverse", "forward")


ROLLBACK_MODES = ("all-or-nothing", "best-effort")
