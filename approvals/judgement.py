"""The whole judgement: blast radius, matrix and guard policies over the same facts. Runs in threads; no database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from approvals.builtin import CLEAR_QUARANTINE, seats_for_quarantine, seats_for_rules
from approvals.judge import Verdict, is_simulated, judge
from approvals.policies.cell import evaluate
from approvals.policies.ruling import CONFIG_CHANGE, Ruled, under_policies
from approvals.policies.schema import facts_for
from approvals.policies.store import Rule
from audit.log.canonical_json import digest_of, is_plain


def judgement(facts: Mapping[str, Any], rules: Sequence[Rule], now: datetime) -> Verdict:
    """Judge one plan: first by blast radius and matrix, then by every policy. A policy that errs denies."""
    base = before_policies(facts)
    if not readable(facts):
        return base
    return under_policies(base, rulings(facts, rules, base, now), facts)


def before_policies(facts: Mapping[str, Any]) -> Verdict:
    """What blast radius, matrix and built-in rules come to by themselves."""
    base = judge(facts)
    if readable(facts) and facts["action"].get("type") == CONFIG_CHANGE and not is_simulated(facts):
        return by_built_in_rules(base, facts)
    if readable(facts) and facts["action"].get("type") == CLEAR_QUARANTINE and not is_simulated(facts):
        return by_a_second_person(base)
    return base


def by_a_second_person(base: Verdict) -> Verdict:
    """The end of a quarantine takes at least one approver, also where the matrix asks nobody."""
    seats, why = seats_for_quarantine(base.seats)
    if base.outcome == "deny" or not why:
        return base
    reason = {"rule": "built-in", "effect": "require", "message": why}
    return replace(base, outcome="hold", seats=seats, acceptance=False, reasons=[*base.reasons, reason])


def by_built_in_rules(base: Verdict, facts: Mapping[str, Any]) -> Verdict:
    """A change of the rules asks the people that the built-in rule names, whatever the matrix says or leaves out."""
    seats, why = seats_for_rules(facts.get("matrix") or {})
    reasons = [r for r in base.reasons if r["rule"] != "matrix"]
    reason = {"rule": "built-in", "effect": "require", "message": why}
    return replace(base, outcome="hold", tier="critical", seats=seats, acceptance=False, reasons=[*reasons, reason])


def readable(facts: Mapping[str, Any]) -> bool:
    return isinstance(facts.get("action"), Mapping) and isinstance(facts.get("environment"), Mapping)


def rulings(facts: Mapping[str, Any], rules: Sequence[Rule], base: Verdict, now: datetime) -> list[Ruled]:
    """What each policy comes to on these facts, in order. Facts that cannot be read make every policy err and deny."""
    if not rules:
        return []
    data = asked_of(facts, base, now)
    if isinstance(data, str):
        return ruled(rules, [(None, data)] * len(rules))
    return ruled(rules, [(a.value, a.error) for a in evaluate([r.expression for r in rules], data)])


def asked_of(facts: Mapping[str, Any], base: Verdict, now: datetime) -> dict[str, Any] | str:
    """The facts as policies read them, or why they cannot be read."""
    try:
        return facts_for(facts, score=base.blast.score, tier=base.tier, now=now.isoformat())
    except (LookupError, TypeError, ValueError) as error:
        return f"the facts could not be read ({type(error).__name__}: {error})"


def ruled(rules: Sequence[Rule], answers: Sequence[tuple[bool | None, str]]) -> list[Ruled]:
    """Each rule with what its expression came to: a value, or None and the error."""
    return [
        Ruled(r.slug, r.version, r.effect, r.mode, r.message, tuple(r.seats), value, error, str(r.policy_id))
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
