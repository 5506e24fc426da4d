"""Evaluate a plan: blast radius and matrix first, then every policy over the same facts. Runs in threads; no database.

A policy can only make a verdict stricter, except `allow_autonomous`, which has its own narrow conditions. A policy that
fails to evaluate denies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from approvals.policies.active_policies import ActivePolicy
from approvals.policies.fact_schema import flatten_facts
from approvals.policies.sandbox.process import evaluate_expressions
from approvals.verdict import (
    CLEAR_QUARANTINE,
    CONFIG_CHANGE,
    Verdict,
    approvals_for_clearing_quarantine,
    approvals_for_rule_change,
    describe_required_approvals,
    evaluate_matrix,
    is_simulated,
)
from audit.log.canonical_json import digest_of, is_plain

MIN_CONFIDENCE = 0.8
"""The confidence a proposal needs to run without approval, unless its environment sets another."""


@dataclass(frozen=True)
class PolicyResult:
    """One policy's result on one set of facts: True, False, or None with the error."""

    slug: str
    version: int
    effect: str
    mode: str
    message: str
    required_approvals: tuple[Mapping[str, Any], ...]
    value: bool | None
    error: str = ""
    policy: str = ""
    """The policy's id, so that its history can be found."""

    @property
    def rule(self) -> str:
        return f"policy {self.slug} v{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """The verdict's record of it; the texts are the version's, which never change."""
        return {
            "policy": self.policy,
            "slug": self.slug,
            "version": self.version,
            "effect": self.effect,
            "mode": self.mode,
            "required_approvals": [dict(required) for required in self.required_approvals],
            "value": self.value,
            "error": self.error,
        }


def apply_policies(base: Verdict, results: Sequence[PolicyResult], facts: Mapping[str, Any]) -> Verdict:
    """The verdict after the policies: denied if one denies or fails, else with every required approval added."""
    verdict = replace(base, reasons=[*base.reasons], policy_results=[r.to_dict() for r in results])
    softened = facts["action"]["type"] == CONFIG_CHANGE
    added: list[dict[str, Any]] = []
    denied = False
    for r in results:
        if r.value is False and not r.error:
            continue
        effect = _effect_of(r, softened)
        verdict.reasons.append({"rule": r.rule, "effect": effect, "message": _message(r, softened)})
        denied = denied or effect == "deny"
        if effect == "require":
            added += [dict(required) for required in r.required_approvals]
    if denied or base.outcome == "deny":
        return replace(verdict, outcome="deny", required_approvals=[], acceptance=False)
    if added:
        return replace(
            verdict, outcome="require_approval", required_approvals=[*base.required_approvals, *added], acceptance=False
        )
    return verdict if softened else _unattended(verdict, results, facts)


def _effect_of(r: PolicyResult, softened: bool) -> str:
    if r.mode == "shadow":
        return "shadow"
    if softened and r.effect in ("deny", "require"):
        return "warn"
    if r.error or r.value is not True:
        return "warn" if softened else "deny"
    return {"allow_autonomous": "autonomous"}.get(r.effect, r.effect)


def _message(r: PolicyResult, softened: bool) -> str:
    if r.error:
        done = "It is only reported." if r.mode == "shadow" or softened else "A policy that fails to evaluate denies."
        return f"It could not be evaluated: {r.error} {done}"
    if r.mode == "shadow":
        return f"Shadow: it would {_would(r)}. {r.message}".strip()
    return r.message or {
        "require": f"Requires {describe_required_approvals(list(r.required_approvals))} in addition."
    }.get(r.effect, "It applies.")


def _would(r: PolicyResult) -> str:
    if r.effect == "require":
        return f"require {describe_required_approvals(list(r.required_approvals))} in addition"
    return {"deny": "deny this", "warn": "warn", "allow_autonomous": "allow this without approval"}[r.effect]


def _unattended(verdict: Verdict, results: Sequence[PolicyResult], facts: Mapping[str, Any]) -> Verdict:
    """Allow a safe, confident proposal without approval where a policy does; elsewhere agents only recommend."""
    action, environment = facts["action"], facts["environment"]
    only_recommends = bool(environment.get("recommendation_only", True))
    allowing = [
        r for r in results if r.effect == "allow_autonomous" and r.mode == "enforce" and r.value is True and not r.error
    ]
    if allowing:
        why_not = _reason_not_unattended(action, environment, only_recommends)
        reason = {"rule": "autonomy", "effect": "warn" if why_not else "allow", "message": why_not or RUNS_UNATTENDED}
        verdict.reasons.append(reason)
        if not why_not:
            return replace(verdict, outcome="allow", required_approvals=[], acceptance=False)
    real = not is_simulated(facts)
    if verdict.outcome == "allow" and only_recommends and action["requester_kind"] == "agent" and real:
        verdict.reasons.append({"rule": "autonomy", "effect": "require", "message": ONLY_RECOMMENDS})
        return replace(verdict, outcome="require_approval", acceptance=True)
    return verdict


RUNS_UNATTENDED = "It is safe and confident, and a policy allows it without approval."
ONLY_RECOMMENDS = "In this environment agents only recommend: the agent's owner must accept it."


def _reason_not_unattended(action: Mapping[str, Any], environment: Mapping[str, Any], only_recommends: bool) -> str:
    if only_recommends:
        return "A policy would allow it without approval, but in this environment agents only recommend."
    if action["risk_class"] != "safe":
        return f"A policy would allow it without approval, but it is {action['risk_class']}; only safe types qualify."
    least, claimed = float(environment.get("confident", MIN_CONFIDENCE)), action.get("confidence")
    if claimed is None or claimed < least:
        given = "none was given" if claimed is None else f"it is {claimed:g}"
        return f"A policy would allow it without approval, but that needs a confidence of {least:g}, and {given}."
    return ""


def evaluate(facts: Mapping[str, Any], rules: Sequence[ActivePolicy], now: datetime) -> Verdict:
    """Evaluate one plan: first blast radius and matrix, then every policy. A policy that fails to evaluate denies."""
    base = evaluate_without_policies(facts)
    if not is_readable(facts):
        return base
    return apply_policies(base, evaluate_policies(facts, rules, base, now), facts)


def evaluate_without_policies(facts: Mapping[str, Any]) -> Verdict:
    """The verdict of blast radius, matrix and built-in rules alone."""
    base = evaluate_matrix(facts)
    if is_readable(facts) and facts["action"].get("type") == CONFIG_CHANGE and not is_simulated(facts):
        return apply_built_in_rules(base, facts)
    if is_readable(facts) and facts["action"].get("type") == CLEAR_QUARANTINE and not is_simulated(facts):
        return require_second_person(base)
    return base


def require_second_person(base: Verdict) -> Verdict:
    """Clearing a quarantine needs at least one approver, even if the matrix requires none."""
    required_approvals, why = approvals_for_clearing_quarantine(base.required_approvals)
    if base.outcome == "deny" or not why:
        return base
    reason = {"rule": "built-in", "effect": "require", "message": why}
    return replace(
        base,
        outcome="require_approval",
        required_approvals=required_approvals,
        acceptance=False,
        reasons=[*base.reasons, reason],
    )


def apply_built_in_rules(base: Verdict, facts: Mapping[str, Any]) -> Verdict:
    """A rule change needs the approvals that the built-in rule names, whatever the matrix says."""
    required_approvals, why = approvals_for_rule_change(facts.get("matrix") or {})
    reasons = [r for r in base.reasons if r["rule"] != "matrix"]
    reason = {"rule": "built-in", "effect": "require", "message": why}
    return replace(
        base,
        outcome="require_approval",
        tier="critical",
        required_approvals=required_approvals,
        acceptance=False,
        reasons=[*reasons, reason],
    )


def is_readable(facts: Mapping[str, Any]) -> bool:
    return isinstance(facts.get("action"), Mapping) and isinstance(facts.get("environment"), Mapping)


def evaluate_policies(
    facts: Mapping[str, Any], rules: Sequence[ActivePolicy], base: Verdict, now: datetime
) -> list[PolicyResult]:
    """The result of each policy on these facts, in order. If facts cannot be read, every policy fails and denies."""
    if not rules:
        return []
    data = policy_facts(facts, base, now)
    if isinstance(data, str):
        return to_policy_results(rules, [(None, data)] * len(rules))
    return to_policy_results(
        rules, [(a.value, a.error) for a in evaluate_expressions([r.expression for r in rules], data)]
    )


def policy_facts(facts: Mapping[str, Any], base: Verdict, now: datetime) -> dict[str, Any] | str:
    """The facts as policies read them, or why they cannot be read."""
    try:
        return flatten_facts(facts, score=base.blast.score, tier=base.tier, now=now.isoformat())
    except (LookupError, TypeError, ValueError) as error:
        return f"the facts could not be read ({type(error).__name__}: {error})"


def to_policy_results(rules: Sequence[ActivePolicy], answers: Sequence[tuple[bool | None, str]]) -> list[PolicyResult]:
    """Each rule with what its expression came to: a value, or None and the error."""
    return [
        PolicyResult(
            r.slug, r.version, r.effect, r.mode, r.message, tuple(r.required_approvals), value, error, str(r.policy_id)
        )
        for r, (value, error) in zip(rules, answers, strict=True)
    ]


def facts_digest(facts: Mapping[str, Any]) -> str:
    """SHA-256 of the facts a verdict was reached on: what the verdict's event names. Floats are written as text."""
    return digest_of(facts if is_plain(facts) else _plain(facts))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return repr(value)
    return value
