"""Many plans under two sets of rules at once: every expression is evaluated once per plan, in bulk. No database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actions.rehearsal.candidate import Rules
from approvals.policies.active_policies import ActivePolicy
from approvals.policies.apply import (
    apply_policies,
    evaluate,
    evaluate_without_policies,
    is_readable,
    policy_facts,
    to_policy_results,
)
from approvals.policies.sandbox.process import ExpressionResult, evaluate_batch
from approvals.verdict import Verdict


@dataclass(frozen=True)
class Judged:
    """One plan by today's rules, and by those with the draft; and what the expressions came to, by their text."""

    today: Verdict
    then: Verdict
    policy_results: Mapping[str, ExpressionResult]


def judge_many(
    plans: Sequence[tuple[Mapping[str, Any], datetime]], today: Rules, then: Rules, patience: dict[str, int]
) -> list[Judged]:
    """What `judgement` says of each plan's (facts, time), by both. `patience` as `evaluate_many` has it, counted down.

    Score and tier depend on no matrix, so policies read the same facts on both sides and each is evaluated once. (Only
    a matrix that does not read changes them; such a plan is judged by itself.)
    """
    sides = [(today.over(facts), then.over(facts), now) for facts, now in plans]
    alike = (today.matrix, today.weights) == (then.matrix, then.weights)
    bases = [_bases(old, new, alike) for old, new, _ in sides]
    asked = [
        policy_facts(old, base, now) if is_readable(old) else UNREADABLE
        for (old, _, now), (base, _) in zip(sides, bases, strict=True)
    ]
    sources = list(dict.fromkeys(r.expression for r in [*today.policies, *then.policies]))
    answers = iter(evaluate_batch(sources, [a for a in asked if not isinstance(a, str)], patience))
    found = []
    for (old, new, now), (base_old, base_new), data in zip(sides, bases, asked, strict=True):
        policy_results = [ExpressionResult(None, data)] * len(sources) if isinstance(data, str) else next(answers)
        by_source = dict(zip(sources, policy_results, strict=True))
        first = _verdict(base_old, today.policies, by_source, old)
        if (base_old.blast.score, base_old.tier) == (base_new.blast.score, base_new.tier):
            second = _verdict(base_new, then.policies, by_source, new)
        else:
            second = evaluate(new, then.policies, now)
        found.append(Judged(first, second, by_source))
    return found


UNREADABLE = "The facts could not be read."


def _bases(old: Mapping[str, Any], new: Mapping[str, Any], alike: bool) -> tuple[Verdict, Verdict]:
    """What each side comes to before any policy; the same where both have the same matrix and weights."""
    first = evaluate_without_policies(old)
    return first, first if alike else evaluate_without_policies(new)


def _verdict(
    base: Verdict, rules: list[ActivePolicy], policy_results: Mapping[str, ExpressionResult], facts: Mapping[str, Any]
) -> Verdict:
    if not is_readable(facts):
        return base
    answers = [(policy_results[r.expression].value, policy_results[r.expression].error) for r in rules]
    return apply_policies(base, to_policy_results(rules, answers), facts)
