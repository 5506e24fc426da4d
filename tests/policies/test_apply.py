"""What policies do to a verdict, as a table; and that they can only make it harsher."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.policies.apply import PolicyResult, apply_policies
from approvals.verdict import STRICTNESS, Verdict, evaluate_matrix
from tests.approvals.factory import facts_of


def ruled(effect="deny", value=True, mode="enforce", error="", required_approvals=({"role": "security", "count": 1},)):
    return PolicyResult(
        "p", 3, effect, mode, "because", tuple(required_approvals) if effect == "require" else (), value, error
    )


def facts() -> dict:
    return facts_of("prod", modifies=1)


def base() -> tuple[Verdict, dict]:
    known = facts()
    known["environment"]["recommendation_only"] = False
    return evaluate_matrix(known), known


@pytest.mark.parametrize(
    ("given_rule", "outcome", "effect"),
    [
        (ruled("deny"), "deny", "deny"),
        (ruled("deny", value=False), None, None),
        (ruled("deny", value=None, error="boom"), "deny", "deny"),
        (ruled("warn", value=None, error="boom"), "deny", "deny"),
        (ruled("require", value=None, error="boom"), "deny", "deny"),
        (ruled("allow_autonomous", value=None, error="boom"), "deny", "deny"),
        (ruled("warn"), None, "warn"),
        (ruled("require"), "require_approval", "require"),
        (ruled("deny", mode="shadow"), None, "shadow"),
        (ruled("deny", mode="shadow", value=None, error="boom"), None, "shadow"),
    ],
)
def test_each_effect_does_what_it_says_and_an_error_denies(given_rule, outcome, effect):
    verdict, known = base()
    after = apply_policies(verdict, [given_rule], known)
    assert after.outcome == (outcome or verdict.outcome)
    told = [r for r in after.reasons if r["rule"] == "policy p v3"]
    assert [r["effect"] for r in told] == ([effect] if effect else [])


def test_required_approvals_are_added_to_those_of_the_matrix():
    verdict, known = base()
    after = apply_policies(verdict, [ruled("require"), ruled("require")], known)
    assert after.required_approvals == [
        *verdict.required_approvals,
        {"role": "security", "count": 1},
        {"role": "security", "count": 1},
    ]
    assert after.acceptance is False


effects = st.sampled_from(["deny", "require", "warn"])
policy_results = st.builds(
    ruled,
    effects,
    st.sampled_from([True, False, None]),
    st.sampled_from(["enforce", "shadow"]),
    st.sampled_from(["", "boom"]),
)


@given(st.lists(policy_results, max_size=6))
def test_no_set_of_policies_makes_a_verdict_milder(many):
    verdict, known = base()
    after = apply_policies(verdict, many, known)
    assert STRICTNESS[after.outcome] >= STRICTNESS[verdict.outcome]
    assert after.outcome == "deny" or all(
        required in after.required_approvals for required in verdict.required_approvals
    )


@pytest.mark.parametrize(
    ("risk_class", "confidence", "recommendation_only", "outcome"),
    [
        ("safe", 0.9, False, "allow"),
        ("safe", 0.5, False, "require_approval"),
        ("safe", None, False, "require_approval"),
        ("guarded", 0.99, False, "require_approval"),
        ("dangerous", 1.0, False, "require_approval"),
        ("safe", 0.99, True, "require_approval"),
    ],
)
def test_only_safe_and_confident_proposals_run_unattended_and_only_where_a_policy_says_so(
    risk_class, confidence, recommendation_only, outcome
):
    known = facts()
    known["action"] |= {"risk_class": risk_class, "confidence": confidence}
    known["environment"]["recommendation_only"] = recommendation_only
    known["matrix"] = {tier: [{"role": "approver", "count": 1}] for tier in ("low", "medium", "high", "critical")}
    after = apply_policies(evaluate_matrix(known), [ruled("allow_autonomous")], known)
    assert after.outcome == outcome
    assert apply_policies(evaluate_matrix(known), [], known).outcome == "require_approval"


def test_a_change_of_the_rules_cannot_be_locked_out_by_a_rule():
    known = facts()
    known["action"]["type"] = "config_change"
    verdict = evaluate_matrix(known)
    after = apply_policies(verdict, [ruled("deny"), ruled("require"), ruled("deny", value=None, error="boom")], known)
    assert (after.outcome, after.required_approvals) == (verdict.outcome, verdict.required_approvals)
    assert [r["effect"] for r in after.reasons if r["rule"] == "policy p v3"] == ["warn", "warn", "warn"]


def test_no_rule_lets_a_change_of_the_rules_run_unattended_whatever_its_type_claims():
    known = facts()
    known["action"] |= {"type": "config_change", "risk_class": "safe", "confidence": 1.0}
    known["environment"]["recommendation_only"] = False
    verdict = evaluate_matrix(known)
    after = apply_policies(verdict, [ruled("allow_autonomous")], known)
    assert (verdict.outcome, after.outcome, after.required_approvals) == (
        "require_approval",
        "require_approval",
        verdict.required_approvals,
    )


def test_an_agent_only_recommends_where_nothing_else_is_said():
    known = facts()
    known["action"] |= {"requester_kind": "agent", "accepted_in_advance": True}
    known["matrix"] = {tier: [] for tier in ("low", "medium", "high", "critical")}
    after = apply_policies(evaluate_matrix(known), [], known)
    assert (after.outcome, after.acceptance) == ("require_approval", True)
