"""Judging in batches comes to what judging one by one does, whatever the facts; and how differences are named."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions.backtests.draft_rules import RuleSet
from actions.backtests.evaluate import (
    KINDS,
    describe_verdict,
    difference_kind,
    differences,
    evaluate_plans,
    facts_named,
)
from approvals.policies.active_policies import ActivePolicy
from approvals.policies.apply import evaluate
from tests.approvals.factory import facts_of

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE, TWO = [{"role": "approver", "count": 1}], [{"role": "approver", "count": 2}]
OTHER = [{"role": "security", "count": 1}]
EXPRESSIONS = ("true", "plan.deletes > 1", "1 / plan.creates > 0", "action.confidence > 0.8", "blast.tier == 'high'")
TIERS = ("low", "medium", "high", "critical")
matrices = st.dictionaries(
    st.sampled_from(TIERS), st.sampled_from([[], ONE, TWO, "nonsense", [{"role": "approver", "count": -1}]])
)


@st.composite
def policies(draw) -> list[ActivePolicy]:
    found = []
    for n in range(draw(st.integers(0, 3))):
        effect = draw(st.sampled_from(["deny", "require", "warn", "allow_autonomous"]))
        found.append(
            ActivePolicy(
                uuid4(),
                f"p{n}",
                1,
                draw(st.sampled_from(EXPRESSIONS)),
                effect,
                TWO if effect == "require" else [],
                "because",
                False,
                draw(st.sampled_from(["enforce", "shadow"])),
                False,
            )
        )
    return found


@st.composite
def plans(draw) -> dict:
    facts = facts_of(
        draw(st.sampled_from(["dev", "prod"])),
        creates=draw(st.integers(0, 2)),
        deletes=draw(st.integers(0, 3)),
        cost_delta=draw(st.sampled_from(["0", None, "x"])),
        type=draw(st.sampled_from(["modify_files", "config_change"])),
        confidence=draw(st.sampled_from([None, 0.9])),
        risk_class=draw(st.sampled_from(["safe", "dangerous"])),
    )
    facts["plan"]["steps"] = facts["plan"]["changes"]
    for missing in draw(
        st.sets(st.sampled_from(["action", "environment", "plan", "cost_delta", "resources"]), max_size=1)
    ):
        if draw(st.booleans()):
            del facts[missing]
    return facts


@settings(max_examples=60, deadline=None)
@given(st.lists(plans(), min_size=1, max_size=6), policies(), policies(), matrices, matrices, st.booleans())
def test_a_batch_comes_to_what_each_comes_to(found, before, after, old, new, alike):
    new = old if alike else new
    today, then = RuleSet(before, {"0194": old}), RuleSet(after, {"0194": new})
    judged = evaluate_plans([(facts, AT) for facts in found], today, then, {})
    for facts, each in zip(found, judged, strict=True):
        assert each.today == evaluate(today.over(facts), before, AT)
        assert each.then == evaluate(then.over(facts), after, AT)


def way(outcome: str, required_approvals=(), acceptance: bool = False) -> dict:
    return {"outcome": outcome, "tier": "low", "required_approvals": list(required_approvals), "acceptance": acceptance}


WAYS = {
    "deny": way("deny"),
    "free": way("allow"),
    "accept": way("require_approval", acceptance=True),
    "one": way("require_approval", ONE),
    "two": way("require_approval", TWO),
    "other": way("require_approval", OTHER),
}


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("free", "deny", "denied"),
        ("two", "deny", "denied"),
        ("deny", "one", "not_denied"),
        ("free", "one", "asked"),
        ("accept", "two", "asked"),
        ("one", "free", "not_asked"),
        ("two", "accept", "not_asked"),
        ("one", "two", "more_approvals"),
        ("two", "one", "fewer_approvals"),
        ("two", "other", "other_approvals"),
        ("free", "accept", "accepted"),
        ("accept", "free", "not_accepted"),
    ],
)
def test_a_difference_has_a_name_and_words(before, after, kind):
    assert difference_kind(WAYS[before], WAYS[after]) == kind
    (said,) = differences(WAYS[before], WAYS[after])
    assert KINDS[kind] in said and describe_verdict(WAYS[after]) in said


@pytest.mark.parametrize("same", WAYS)
def test_what_goes_the_same_way_is_no_difference(same):
    assert difference_kind(WAYS[same], WAYS[same]) == "" and differences(WAYS[same], WAYS[same]) == []
    higher = {**WAYS[same], "tier": "high"}
    assert difference_kind(WAYS[same], higher) == ""
    assert differences(WAYS[same], higher) == ["Its tier would be high instead of low."]


def test_the_facts_that_an_expression_names():
    text = (
        "plan . deletes > 0 && 'plan.creates' != \"now\" || now.getHours() > 3 // blast.score\n && resources.size() > 0"
    )
    assert facts_named(text) == ["plan.deletes", "now", "resources"]
