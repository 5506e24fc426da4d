"""The blast radius: calibrated, explained, and never lower for a bigger change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.blast.score import LEVELS, THRESHOLDS, score_blast_radius, tier_of
from tests.approvals.factory import ENVIRONMENTS, diagnostics, facts_of


@pytest.mark.parametrize(
    ("facts", "tier"),
    [
        (facts_of("dev", modifies=1), "low"),
        (facts_of("dev", modifies=3), "low"),
        (facts_of("dev", deletes=1), "low"),
        (facts_of("dev", deletes=10), "medium"),
        (facts_of("staging", modifies=1), "medium"),
        (facts_of("prod", creates=1), "medium"),
        (facts_of("prod", modifies=1), "medium"),
        (facts_of("prod", modifies=3), "high"),
        (facts_of("prod", deletes=1), "high"),
        (facts_of("prod", modifies=100, deletes=10), "critical"),
        (facts_of("prod", modifies=3, irreversible=1, risk_class="dangerous"), "critical"),
        *[(diagnostics(environment), "low") for environment in ENVIRONMENTS],
    ],
)
def test_what_people_expect_of_a_change_is_what_it_scores(facts, tier):
    assert score_blast_radius(facts).tier == tier


def test_every_point_is_explained():
    blast = score_blast_radius(facts_of("prod", creates=1, modifies=1, deletes=1, cost_delta="12.50"))
    assert blast.score == sum(factor["points"] for factor in blast.factors)
    assert {factor["weight"] for factor in blast.factors} == {100}
    why = {factor["name"]: factor["why"] for factor in blast.factors}
    assert why == {
        "environment": "prod is a dangerous environment, and it is production",
        "resources_touched": "3 files in prod: 1 created, 1 modified, 1 deleted",
        "deletions": "1 file deleted",
        "irreversibility": "every step can be undone",
        "resource_risk": "not in the inventory, so taken to be as dangerous as the environment",
        "monthly_cost": "adds 12.50 to the monthly cost",
        "action_type": "modify_files is a guarded type of action",
        "dependents": "nothing in the inventory depends on the changed resources",
        "recent_failures": "no recent run of modify_files in prod: too few to count",
        "working_hours": "no working hours are declared for this environment",
    }


def test_an_unknown_cost_is_a_visible_factor_at_its_maximum():
    factor = next(
        f
        for f in score_blast_radius(facts_of("dev", modifies=1, cost_delta=None)).factors
        if f["name"] == "monthly_cost"
    )
    assert factor["points"] == factor["max"] and "not known" in factor["why"]


@pytest.mark.parametrize(
    ("delta", "points"),
    [("-50", 0), ("0", 0), ("0.001", 2), ("9.99", 2), ("10", 4), ("100", 7), ("1000", 10), ("1E+9", 10)],
)
def test_cost_weighs_by_its_order_of_magnitude(delta, points):
    factor = next(
        f
        for f in score_blast_radius(facts_of("dev", modifies=1, cost_delta=delta)).factors
        if f["name"] == "monthly_cost"
    )
    assert factor["points"] == points and "E" not in factor["why"]


def test_the_most_sensitive_known_resource_counts_even_in_a_safe_environment():
    database = {"kind": "database", "name": "orders", "risk_class": "dangerous", "monthly_cost": "9", "known": True}
    blast = score_blast_radius(facts_of("dev", modifies=1, resources=[database]))
    factor = next(f for f in blast.factors if f["name"] == "resource_risk")
    assert factor["points"] == 10 and factor["why"] == "the most sensitive resource touched is dangerous"


def test_a_tier_begins_exactly_at_its_threshold():
    assert [tier_of(start) for start in THRESHOLDS] == list(LEVELS)
    assert [tier_of(start - 1) for start in THRESHOLDS[1:]] == list(LEVELS[:-1])
    assert tier_of(100) == "critical"


@pytest.mark.parametrize("name", ["plan", "environment", "action", "resources", "cost_delta"])
def test_missing_facts_are_an_error_and_not_a_low_score(name):
    facts = facts_of(modifies=1)
    del facts[name]
    with pytest.raises(LookupError):
        score_blast_radius(facts)


COUNTS = st.integers(0, 300)


@given(
    st.sampled_from(sorted(ENVIRONMENTS)),
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    st.sampled_from(["creates", "modifies", "deletes", "irreversible", "lossy"]),
)
def test_one_more_of_anything_never_lowers_the_score(
    environment, creates, modifies, deletes, irreversible, lossy, more
):
    counts = {
        "creates": creates,
        "modifies": modifies,
        "deletes": deletes,
        "irreversible": irreversible,
        "lossy": lossy,
    }
    before, after = (
        score_blast_radius(facts_of(environment, **counts)),
        score_blast_radius(facts_of(environment, **{**counts, more: counts[more] + 1})),
    )
    assert 0 <= before.score <= after.score <= 100
    assert all(isinstance(factor["points"], int) and 0 <= factor["points"] <= factor["max"] for factor in after.factors)
