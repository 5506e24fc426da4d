"""Evaluate plans under two rule sets and compare the verdicts: many plans in bulk, or one action in detail."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from actions.backtests.draft_rules import DraftRules, RuleSet, load_draft
from actions.errors import NothingToBacktest
from actions.lifecycle.allowed import find_action
from actions.models import Action
from approvals.policies.active_policies import ActivePolicy
from approvals.policies.apply import (
    apply_policies,
    evaluate,
    evaluate_without_policies,
    is_readable,
    policy_facts,
    to_policy_results,
)
from approvals.policies.fact_schema import FACTS
from approvals.policies.sandbox.process import ExpressionResult, evaluate_batch
from approvals.verdict import Verdict, count_by_role, describe_required_approvals
from tenants.access import Access

KINDS = {
    "denied": "would be denied",
    "not_denied": "would no longer be denied",
    "asked": "would require approvals that were not required",
    "not_asked": "would require no approval",
    "more_approvals": "would require more approvals",
    "fewer_approvals": "would require fewer approvals",
    "other_approvals": "would require other roles",
    "accepted": "would require its requester to accept the diff",
    "not_accepted": "would not require its requester to accept the diff",
}
"""Kinds of differences, with their description."""
VerdictLike = Mapping[str, Any]


def comparable(verdict: Verdict | VerdictLike) -> dict[str, Any]:
    """The comparable part of a verdict: {"outcome", "tier", "required_approvals", "acceptance"}."""
    if isinstance(verdict, Verdict):
        return {
            "outcome": verdict.outcome,
            "tier": verdict.tier,
            "acceptance": verdict.acceptance,
            "required_approvals": [dict(required) for required in verdict.required_approvals],
        }
    return {
        "outcome": verdict.get("outcome", "deny"),
        "tier": verdict.get("tier", ""),
        "acceptance": bool(verdict.get("acceptance")),
        "required_approvals": list(verdict.get("required_approvals") or ()),
    }


def difference_kind(before: VerdictLike, after: VerdictLike) -> str:
    """The kind of a difference (of KINDS); empty if there is none. A tier alone makes none."""
    if "deny" in (before["outcome"], after["outcome"]):
        if before["outcome"] == after["outcome"]:
            return ""
        return "denied" if after["outcome"] == "deny" else "not_denied"
    old, new = count_by_role(before["required_approvals"]), count_by_role(after["required_approvals"])
    if old != new:
        if not old or not new:
            return "asked" if new else "not_asked"
        more, fewer = bool(new - old), bool(old - new)
        return "other_approvals" if more and fewer else "more_approvals" if more else "fewer_approvals"
    if before["acceptance"] != after["acceptance"]:
        return "accepted" if after["acceptance"] else "not_accepted"
    return ""


def describe_verdict(verdict: VerdictLike) -> str:
    """A verdict in words: "denied", "requires 2 × approver", "runs without approval"."""
    if verdict["outcome"] == "deny":
        return "denied"
    if verdict["required_approvals"]:
        return f"requires {describe_required_approvals(verdict['required_approvals'])}"
    if verdict["acceptance"]:
        return "requires the requester to accept the diff"
    return "runs without approval"


def differences(before: VerdictLike, after: VerdictLike) -> list[str]:
    """All differences between two verdicts in sentences; none if they are equal."""
    found = []
    if kind := difference_kind(before, after):
        found.append(f"It {KINDS[kind]}: {describe_verdict(before)} today, {describe_verdict(after)} with the draft.")
    if before["tier"] != after["tier"]:
        found.append(f"Its tier would be {after['tier']} instead of {before['tier']}.")
    return found


# Many plans in bulk: each expression is evaluated once per plan. No database.


@dataclass(frozen=True)
class EvaluatedPlan:
    """One plan evaluated by today's rules, and with the draft; and the results of expressions, by their text."""

    today: Verdict
    then: Verdict
    policy_results: Mapping[str, ExpressionResult]


def evaluate_plans(
    plans: Sequence[tuple[Mapping[str, Any], datetime]], today: RuleSet, then: RuleSet, patience: dict[str, int]
) -> list[EvaluatedPlan]:
    """
    The verdicts on each plan's (facts, time) by both rule sets. `patience` as in `evaluate_batch`, counted down.

    Score and tier do not depend on the matrix, so policies read the same facts on both sides, and each is evaluated
    once. (Only an unreadable matrix changes them; such a plan is evaluated alone.)
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
        found.append(EvaluatedPlan(first, second, by_source))
    return found


UNREADABLE = "The facts could not be read."


def _bases(old: Mapping[str, Any], new: Mapping[str, Any], alike: bool) -> tuple[Verdict, Verdict]:
    """The verdict of each side before any policy; the same if both have the same matrix and weights."""
    first = evaluate_without_policies(old)
    return first, first if alike else evaluate_without_policies(new)


def _verdict(
    base: Verdict, rules: list[ActivePolicy], policy_results: Mapping[str, ExpressionResult], facts: Mapping[str, Any]
) -> Verdict:
    if not is_readable(facts):
        return base
    answers = [(policy_results[r.expression].value, policy_results[r.expression].error) for r in rules]
    return apply_policies(base, to_policy_results(rules, answers), facts)


# One action in detail: its verdict today, its verdict with the draft, and why.


TEXTS = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|//[^\n]*")
"""Texts and comments."""
NAMES = re.compile(r"[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class FactRead:
    """A fact that the expression names, with its value on this action."""

    name: str
    value: Any
    what: str


@dataclass(frozen=True)
class PolicyOutcome:
    """
    A guard policy with its result on this action; `side` is today, then, or both.

    `value`: True, False, or None with the error.
    """

    policy: str
    slug: str
    version: int
    effect: str
    mode: str
    value: bool | None
    error: str
    side: str


@dataclass(frozen=True)
class SingleBacktest:
    """
    `went` is the plan's stored verdict; `today` and `then` evaluate the same facts by the current rules, without and
    with the draft.
    """

    candidate: DraftRules
    action: Action
    now: datetime
    went: dict[str, Any]
    today: Verdict
    then: Verdict
    differences: list[str]
    asked: list[PolicyOutcome]
    read: list[FactRead]

    @property
    def is_otherwise(self) -> bool:
        return bool(self.differences)


def backtest_action(access: Access, kind: str, draft_id: UUID, action_id: UUID | str) -> SingleBacktest:
    """
    Evaluate a draft on an action that the caller may view. Stores nothing.

    Raises what `load_draft` raises; NotFound for an action; NothingToBacktest for one without an evaluated plan.
    """
    return backtest_found(load_draft(access, kind, draft_id), find_action(access, action_id))


def backtest_found(candidate: DraftRules, action: Action) -> SingleBacktest:
    """Like `backtest_action`, for objects already loaded. The action needs its plan joined."""
    plan = action.plan
    if plan is None or not plan.facts:
        raise NothingToBacktest(
            "This action has no evaluated plan, so no policy can be tested on it.",
            remedies=["Choose an action that got past its dry run."],
        )
    at = plan.created_at
    today, then = (evaluate(deepcopy(rules.over(plan.facts)), rules.policies, at) for rules in _sides(candidate))
    return SingleBacktest(
        candidate,
        action,
        at,
        comparable(plan.verdict),
        today,
        then,
        differences(comparable(today), comparable(then)),
        _policy_outcomes(today, then),
        facts_read(candidate, plan.facts, at),
    )


def facts_read(candidate: DraftRules, facts: Mapping[str, Any], now: datetime) -> list[FactRead]:
    """The facts that the draft's expression names, with their values; for a matrix, none."""
    if candidate.rule is None or not is_readable(facts):
        return []
    values = policy_facts(facts, evaluate_without_policies(candidate.then.over(facts)), now)
    if isinstance(values, str):
        return []
    return [
        FactRead(name, values[name], FACTS[name].what)
        for name in facts_named(candidate.rule.expression)
        if name in values
    ]


def facts_named(expression: str) -> list[str]:
    """The documented facts that an expression names, outside strings and comments, in order."""
    found: dict[str, None] = {}
    for chain in NAMES.findall(TEXTS.sub("''", expression)):
        parts = re.sub(r"\s", "", chain).split(".")
        fact = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in FACTS), None)
        if fact:
            found[fact] = None
    return list(found)


def to_dict(single: SingleBacktest) -> dict[str, Any]:
    """A backtest of one action, for the API."""
    c = single.candidate
    return {
        "kind": c.kind,
        "draft": c.draft,
        "title": c.title,
        "digest": c.digest,
        "action": single.action.pk,
        "now": single.now,
        "went": single.went,
        "otherwise": single.is_otherwise,
        "today": {**comparable(single.today), "reasons": single.today.reasons},
        "then": {**comparable(single.then), "reasons": single.then.reasons},
        "differences": single.differences,
        "policies": [asdict(each) for each in single.asked],
        "read": [asdict(each) for each in single.read],
    }


def _sides(candidate: DraftRules) -> tuple[RuleSet, RuleSet]:
    return candidate.today, candidate.then


def _policy_outcomes(today: Verdict, then: Verdict) -> list[PolicyOutcome]:
    """All policies of both sides, each once: first those of both, then those that differ."""
    before = {(r["policy"], r["version"]): r for r in today.policy_results}
    after = {(r["policy"], r["version"]): r for r in then.policy_results}
    fields = ("policy", "slug", "version", "effect", "mode", "value", "error")
    return [
        PolicyOutcome(**{name: r[name] for name in fields}, side=_side(key in before, key in after))
        for key, r in {**before, **after}.items()
    ]


def _side(before: bool, after: bool) -> str:
    return "both" if before and after else "then" if after else "today"
