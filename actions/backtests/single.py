"""Try a draft on one action: what today's rules say of its plan, what they would say with the draft, and why."""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from actions.backtests.draft_rules import DraftRules, RuleSet, load_draft
from actions.backtests.evaluate import comparable, differences
from actions.errors import NothingToBacktest
from actions.lifecycle.allowed import find_action
from actions.models import Action
from approvals.policies.apply import evaluate, evaluate_without_policies, is_readable, policy_facts
from approvals.policies.fact_schema import FACTS
from approvals.verdict import Verdict
from tenants.access import Access

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
    """A guard policy, and what it came to on this action; `side` is today, then, or both.

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
    """`went` is how the plan was judged at the time; `today` and `then` judge the same facts by the rules of now."""

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
    """Rehearse a draft on an action that the caller may view. Stores nothing.

    Raises what `candidate_for` raises; NotFound for an action; NothingToRehearse for one without a judged plan.
    """
    return backtest_found(load_draft(access, kind, draft_id), find_action(access, action_id))


def backtest_found(candidate: DraftRules, action: Action) -> SingleBacktest:
    """As `rehearse`, for what was found already. The action needs its plan joined."""
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
    """The documented facts that an expression names outside of texts and comments, in the order in which it does."""
    found: dict[str, None] = {}
    for chain in NAMES.findall(TEXTS.sub("''", expression)):
        parts = re.sub(r"\s", "", chain).split(".")
        fact = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in FACTS), None)
        if fact:
            found[fact] = None
    return list(found)


def to_dict(rehearsal: SingleBacktest) -> dict[str, Any]:
    """A rehearsal for programs."""
    c = rehearsal.candidate
    return {
        "kind": c.kind,
        "draft": c.draft,
        "title": c.title,
        "digest": c.digest,
        "action": rehearsal.action.pk,
        "now": rehearsal.now,
        "went": rehearsal.went,
        "otherwise": rehearsal.is_otherwise,
        "today": {**comparable(rehearsal.today), "reasons": rehearsal.today.reasons},
        "then": {**comparable(rehearsal.then), "reasons": rehearsal.then.reasons},
        "differences": rehearsal.differences,
        "policies": [asdict(each) for each in rehearsal.asked],
        "read": [asdict(each) for each in rehearsal.read],
    }


def _sides(candidate: DraftRules) -> tuple[RuleSet, RuleSet]:
    return candidate.today, candidate.then


def _policy_outcomes(today: Verdict, then: Verdict) -> list[PolicyOutcome]:
    """Every policy of either side, once: those of both, then those that differ."""
    before = {(r["policy"], r["version"]): r for r in today.policy_results}
    after = {(r["policy"], r["version"]): r for r in then.policy_results}
    fields = ("policy", "slug", "version", "effect", "mode", "value", "error")
    return [
        PolicyOutcome(**{name: r[name] for name in fields}, side=_side(key in before, key in after))
        for key, r in {**before, **after}.items()
    ]


def _side(before: bool, after: bool) -> str:
    return "both" if before and after else "then" if after else "today"
