"""A resource cannot hide behind a thousand others: where a rule cannot see all of them, it errs, and so denies."""

import pytest

from approvals.policies.active_policies import ActivePolicy
from approvals.policies.apply import evaluate, evaluate_policies
from approvals.policies.fact_schema import MAX_RESOURCES
from approvals.verdict import evaluate_matrix
from audit.database.clock import database_time, uuid7
from tests.approvals.factory import facts_of

LOOKS = "resources.exists(r, r.name == 'sudoers')"


def rule(expression: str, effect: str = "deny") -> ActivePolicy:
    return ActivePolicy(uuid7(), "p", 1, expression, effect, [], "because", False, "enforce", False)


def touching(many: int) -> dict:
    """A plan that touches so many files, the one that matters last."""
    facts = facts_of("dev", modifies=1)
    file = {"kind": "file", "risk_class": "safe", "monthly_cost": None, "known": False}
    facts["resources"] = [{**file, "name": f"f{n}"} for n in range(many - 1)] + [{**file, "name": "sudoers"}]
    facts["plan"] |= {"resources": many, "modifies": many, "changes": many, "reversible": many, "steps": many}
    return facts


@pytest.mark.django_db
@pytest.mark.parametrize("many", [1, 200, 201, MAX_RESOURCES, MAX_RESOURCES + 1, 5_000])
def test_what_a_rule_looks_for_is_denied_however_many_stand_before_it(many):
    verdict = evaluate(touching(many), [rule(LOOKS)], database_time())
    assert verdict.outcome == "deny"
    (reason,) = [r for r in verdict.reasons if r["rule"] == "policy p v1"]
    told = "because" if many <= MAX_RESOURCES else "this plan has more than 1,000. Split it, or count with `plan`."
    assert told in reason["message"]


@pytest.mark.django_db
def test_rules_that_need_not_look_are_not_bothered():
    facts = touching(MAX_RESOURCES + 1)
    sources = ["plan.modifies > 10", f"environment.name == 'prod' && {LOOKS}", f"plan.modifies > 0 || {LOOKS}"]
    found = evaluate_policies(facts, [rule(source) for source in sources], evaluate_matrix(facts), database_time())
    assert [(r.value, r.error) for r in found] == [(True, ""), (False, ""), (True, "")]
