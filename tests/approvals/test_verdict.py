"""The judgement over the whole table of tiers and rows; it fails closed."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.verdict import Verdict, evaluate_matrix
from approvals.verdict import is_stricter as stricter
from tests.approvals.factory import APPROVER, TIERS, diagnostics, facts_of

TWO = [{"role": "approver", "count": 2}, {"role": "security", "count": 1}]


def rules(verdict: Verdict) -> list[tuple[str, str]]:
    return [(reason["rule"], reason["effect"]) for reason in verdict.reasons]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("level", TIERS)
def test_each_tier_reads_its_own_row_and_a_missing_row_denies(tier, level):
    matrix = {tier: [{"role": f"role-of-{tier}", "count": 1}]}
    verdict = evaluate_matrix(facts_of("dev", modifies=1, security_level=level, matrix=matrix))
    assert verdict.tier == level and verdict.blast.tier == "low"
    if tier == level:
        assert (verdict.outcome, verdict.required_approvals, verdict.acceptance) == (
            "require_approval",
            matrix[tier],
            False,
        )
    else:
        assert (verdict.outcome, verdict.required_approvals, verdict.acceptance) == ("deny", [], False)
        assert verdict.reasons[-1]["rule"] == "matrix" and "no row" in verdict.reasons[-1]["message"]


def test_the_security_level_raises_the_tier_and_never_lowers_it():
    assert evaluate_matrix(facts_of("dev", modifies=1, security_level="high")).tier == "high"
    assert evaluate_matrix(facts_of("prod", deletes=1, security_level="low")).tier == "high"


def test_dangerous_is_never_below_high():
    verdict = evaluate_matrix(diagnostics("dev", risk_class="dangerous"))
    assert verdict.tier == "high" and ("risk_class", "raise") in rules(verdict)


@pytest.mark.parametrize(
    ("level", "tier"), [("low", "medium"), ("medium", "high"), ("high", "critical"), ("critical", "critical")]
)
def test_an_unknown_cost_raises_the_tier_by_one(level, tier):
    assert evaluate_matrix(facts_of("dev", modifies=1, security_level=level, cost_delta=None)).tier == tier


def test_an_empty_row_allows_what_changes_nothing():
    verdict = evaluate_matrix(diagnostics("prod", matrix={"low": []}))
    assert (verdict.outcome, verdict.acceptance) == ("allow", False)


def test_an_empty_row_still_waits_for_the_requester_to_accept_a_change():
    verdict = evaluate_matrix(facts_of("dev", modifies=1, matrix={"low": []}))
    assert (verdict.outcome, verdict.required_approvals, verdict.acceptance) == ("require_approval", [], True)
    accepted = evaluate_matrix(facts_of("dev", modifies=1, accepted_in_advance=True, matrix={"low": []}))
    assert (accepted.outcome, accepted.acceptance) == ("allow", False)


def test_accepting_in_advance_fills_no_approval():
    verdict = evaluate_matrix(facts_of("dev", modifies=1, accepted_in_advance=True))
    assert (verdict.outcome, verdict.required_approvals) == ("require_approval", APPROVER)


@pytest.mark.parametrize(
    "required_approvals",
    [
        None,
        {},
        "approver",
        ["approver"],
        [{}],
        [{"role": "approver"}],
        [{"role": "", "count": 1}],
        [{"role": "approver", "count": 0}],
        [{"role": "approver", "count": -1}],
        [{"role": "approver", "count": True}],
        [{"role": "approver", "count": "1"}],
        [{"role": "approver", "count": 1, "or": "nobody"}],
    ],
)
def test_a_row_that_cannot_be_read_denies(required_approvals):
    verdict = evaluate_matrix(facts_of("dev", modifies=1, matrix={"low": required_approvals}))
    assert (verdict.outcome, verdict.required_approvals) == ("deny", [])


@pytest.mark.parametrize(
    "damage",
    [
        {"security_level": "none"},
        {"risk_class": "harmless"},
        {"cost_delta": "NaN"},
        {"cost_delta": "a lot"},
        {"deletes": -1},
        {"deletes": None},
        {"matrix": None},
        {"resources": None},
        {"lossy": "two"},
    ],
)
def test_facts_that_do_not_read_as_agreed_deny_and_say_so(damage):
    verdict = evaluate_matrix(
        facts_of("dev", **{"modifies": 1, **{k: v for k, v in damage.items() if k != "deletes"}}) | _plan(damage)
    )
    assert (verdict.outcome, verdict.tier) == ("deny", "critical")
    assert (
        rules(verdict) == [("facts", "deny")]
        and sum(f["points"] for f in verdict.blast.factors) == verdict.blast.score == 100
    )


def _plan(damage):
    return {"plan": {**facts_of(modifies=1)["plan"], "deletes": damage["deletes"]}} if "deletes" in damage else {}


@given(
    st.sampled_from(["tenant", "environment", "action", "plan", "resources", "cost_delta", "matrix"]),
    st.none() | st.text() | st.integers(),
)
def test_rubbish_anywhere_never_allows(part, rubbish):
    verdict = evaluate_matrix(
        {**facts_of("dev", modifies=1, accepted_in_advance=True, matrix={"low": []}), part: rubbish}
    )
    assert verdict.outcome == "deny" or part in ("tenant", "cost_delta")


def test_judging_leaves_the_facts_alone_and_repeats_itself():
    facts = facts_of("prod", modifies=2, deletes=1)
    kept = copy.deepcopy(facts)
    assert evaluate_matrix(facts) == evaluate_matrix(facts) and facts == kept


def verdict_of(required_approvals, outcome="require_approval"):
    return Verdict(
        outcome,
        "high",
        required_approvals,
        outcome == "require_approval" and not required_approvals,
        [],
        evaluate_matrix({}).blast,
    )


@pytest.mark.parametrize(
    ("new", "old_approvals", "old_outcome", "is_stricter"),
    [
        (verdict_of(APPROVER), APPROVER, "require_approval", False),
        (verdict_of(TWO), APPROVER, "require_approval", True),
        (verdict_of(APPROVER), TWO, "require_approval", False),
        (verdict_of([{"role": "security", "count": 1}]), APPROVER, "require_approval", True),
        (verdict_of([*APPROVER, *APPROVER]), [{"role": "approver", "count": 2}], "require_approval", False),
        (verdict_of([], "deny"), TWO, "require_approval", True),
        (verdict_of([], "allow"), TWO, "require_approval", False),
        (verdict_of([]), [], "allow", True),
        (verdict_of([]), [], "require_approval", False),
        (verdict_of(APPROVER), [], "require_approval", True),
        (verdict_of([]), TWO, "require_approval", False),
    ],
)
def test_stricter_means_that_what_was_granted_does_not_cover_it(new, old_approvals, old_outcome, is_stricter):
    assert stricter(new, old_approvals, old_outcome) is is_stricter
