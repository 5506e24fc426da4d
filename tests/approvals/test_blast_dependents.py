"""What surrounds a plan moves its blast radius: dependents, earlier runs, hours, and the tenant's weights."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.blast.factors import FACTORS
from approvals.blast.score import score_blast_radius
from approvals.verdict import evaluate_matrix
from tests.approvals.factory import ENVIRONMENTS, diagnostics, facts_of

NOBODY = {"count": 0, "names": [], "more": False}
HOURS = {"declared": True, "outside": False, "words": "mon–fri 08:00–18:00 Europe/Berlin", "local": "Sat 23:10"}


def around(environment: str = "staging", **more) -> dict:
    counts = {"modifies": 1, **{k: v for k, v in more.items() if k in ("modifies", "deletes", "creates")}}
    facts = facts_of(environment, **counts)
    surroundings = {"dependents": NOBODY, "history": {"ended": 0, "failed": 0, "days": 30}, "window": HOURS}
    return facts | surroundings | {k: v for k, v in more.items() if k not in counts}


def points(facts: dict) -> dict[str, int]:
    return {factor["name"]: factor["points"] for factor in score_blast_radius(facts).factors}


def why(facts: dict, name: str) -> str:
    return next(factor["why"] for factor in score_blast_radius(facts).factors if factor["name"] == name)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 4), (2, 4), (3, 7), (10, 11), (30, 15), (999, 15)])
def test_dependents_weigh_by_their_number(count, expected):
    assert points(around(dependents={"count": count, "names": [], "more": False}))["dependents"] == expected


def test_dependents_are_named_as_far_as_one_may_see_them():
    some = around(dependents={"count": 4, "names": ["shop", "till"], "more": False})
    assert why(some, "dependents") == "4 resources depend on what is changed: shop, till and 2 more"
    elsewhere = around(dependents={"count": 1, "names": [], "more": False})
    assert why(elsewhere, "dependents") == "1 resource depends on what is changed: in other environments"


def test_dependents_that_were_not_followed_to_the_end_count_as_the_most():
    assert points(around(dependents={"count": 1, "names": [], "more": True}))["dependents"] == 15


@pytest.mark.parametrize(
    ("ended", "failed", "expected"),
    [
        (0, 0, 0),
        (2, 2, 0),
        (3, 0, 0),
        (20, 0, 0),
        (20, 1, 3),
        (20, 2, 5),
        (20, 5, 8),
        (20, 10, 12),
        (20, 15, 15),
        (3, 3, 15),
    ],
)
def test_earlier_failures_weigh_once_there_are_enough_runs_to_tell(ended, failed, expected):
    facts = around(history={"ended": ended, "failed": failed, "days": 30})
    assert points(facts)["recent_failures"] == expected


@pytest.mark.parametrize(("declared", "outside", "expected"), [(True, True, 10), (True, False, 0), (False, False, 0)])
def test_outside_the_declared_hours_costs_points(declared, outside, expected):
    assert points(around(window={**HOURS, "declared": declared, "outside": outside}))["working_hours"] == expected


def test_what_only_reads_is_not_moved_by_what_surrounds_it():
    plain = diagnostics("prod")
    surrounded = plain | {"dependents": {"count": 50, "names": [], "more": False}, "window": {**HOURS, "outside": True}}
    assert score_blast_radius(surrounded).score == score_blast_radius(plain).score


@pytest.mark.parametrize("name", ["dependents", "history", "window", "weights"])
def test_facts_without_their_surroundings_deny(name):
    facts = around()
    del facts[name]
    verdict = evaluate_matrix(facts)
    assert (verdict.outcome, verdict.reasons[-1]["rule"]) == ("deny", "facts")


@pytest.mark.parametrize(
    "damage",
    [
        {"weights": {"deletions": 301}},
        {"weights": {"deletions": -1}},
        {"weights": {"deletions": "100"}},
        {"weights": {"deletions": True}},
        {"weights": "none"},
        {"dependents": "many"},
        {"dependents": {"count": -1}},
        {"dependents": {"count": 1.5, "names": [], "more": False}},
        {"history": {"ended": 1, "failed": 2}},
        {"history": []},
        {"window": {"declared": True}},
        {"window": {**HOURS, "outside": "no"}},
    ],
)
def test_surroundings_that_do_not_read_deny(damage):
    verdict = evaluate_matrix(around(**damage))
    assert (verdict.outcome, verdict.reasons[-1]["rule"]) == ("deny", "facts")


def test_a_weight_moves_its_factor_and_is_kept_with_it():
    plain, heavy = (
        score_blast_radius(around(deletes=1)),
        score_blast_radius(around(deletes=1, weights={"deletions": 150})),
    )
    assert heavy.score == plain.score + 6
    factor = next(f for f in heavy.factors if f["name"] == "deletions")
    assert (factor["points"], factor["max"], factor["weight"]) == (18, 27, 150)


def test_no_weight_lifts_a_floor():
    nothing = dict.fromkeys(FACTORS, 0)
    assert evaluate_matrix(around("prod", deletes=3, weights=nothing)).blast.score == 0
    assert evaluate_matrix(around("prod", weights=nothing) | {"cost_delta": None}).tier == "medium"
    dangerous = facts_of("dev", modifies=1, risk_class="dangerous") | {"weights": nothing}
    assert evaluate_matrix(dangerous).tier == "high"
    assert (
        evaluate_matrix(facts_of("dev", modifies=1, security_level="critical") | {"weights": nothing}).tier
        == "critical"
    )


def test_the_score_stops_at_a_hundred_and_says_so():
    facts = around("prod", modifies=100, deletes=50, weights=dict.fromkeys(FACTORS, 300))
    blast = score_blast_radius(facts | {"cost_delta": "5000"})
    assert blast.score == 100 == sum(f["points"] for f in blast.factors)
    assert any("stops at 100" in f["why"] for f in blast.factors)


WEIGHTS = st.dictionaries(st.sampled_from(sorted(FACTORS)), st.integers(0, 300))
COUNTS = st.fixed_dictionaries({name: st.integers(0, 120) for name in ("creates", "modifies", "deletes")})
FACTS = st.builds(
    lambda place, counts, lossy, stuck, cost, dependents, ended, outside, weights: (
        facts_of(place, **counts, lossy=lossy, irreversible=stuck, cost_delta=cost)
        | {
            "dependents": {"count": dependents, "names": [], "more": False},
            "history": {"ended": ended, "failed": ended // 3},
            "window": {**HOURS, "outside": outside},
            "weights": weights,
        }
    ),
    st.sampled_from(sorted(ENVIRONMENTS)),
    COUNTS,
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([None, "-5", "0", "3", "50", "5000"]),
    st.integers(0, 60),
    st.integers(0, 20),
    st.booleans(),
    WEIGHTS,
)


@given(FACTS)
def test_points_always_sum_to_the_score(facts):
    kept = copy.deepcopy(facts)
    blast = score_blast_radius(facts)
    assert blast.score == sum(factor["points"] for factor in blast.factors) and 0 <= blast.score <= 100
    assert all(0 <= factor["points"] <= factor["max"] <= 100 for factor in blast.factors)
    assert [factor["name"] for factor in blast.factors] == list(FACTORS)
    assert score_blast_radius(facts) == blast and facts == kept


@given(FACTS, st.data())
def test_more_of_anything_never_lowers_the_score_whatever_the_weights(facts, data):
    more = copy.deepcopy(facts)
    what = data.draw(st.sampled_from(["plan", "dependents", "failed", "outside", "cost", "environment", "weight"]))
    if what == "plan":
        name = data.draw(st.sampled_from(["creates", "modifies", "deletes", "lossy", "irreversible", "changes"]))
        more["plan"][name] += data.draw(st.integers(1, 50))
    elif what == "dependents":
        more["dependents"]["count"] += data.draw(st.integers(1, 50))
    elif what == "failed":
        more["history"]["failed"] = data.draw(st.integers(facts["history"]["failed"], facts["history"]["ended"]))
    elif what == "outside":
        more["window"]["outside"] = True
    elif what == "cost":
        more["cost_delta"] = None
    elif what == "environment":
        more["environment"]["risk_class"] = "dangerous"
    else:
        name = data.draw(st.sampled_from(sorted(FACTORS)))
        more["weights"] = {**facts["weights"], name: data.draw(st.integers(facts["weights"].get(name, 100), 300))}
    assert score_blast_radius(more).score >= score_blast_radius(facts).score
