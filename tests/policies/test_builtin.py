"""The rules about changing the rules: never fewer than two people, and never nobody."""

import pytest

from approvals.verdict import approvals_for_rule_change, is_rule_change

TWO = [{"role": "approver", "count": 2}]
MIXED = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]


@pytest.mark.parametrize("required_approvals", [TWO, MIXED, [{"role": "security", "count": 3}]])
def test_a_critical_row_of_two_people_or_more_stands(required_approvals):
    assert approvals_for_rule_change({"critical": required_approvals, "low": []})[0] == required_approvals


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        ({}, "is missing"),
        ({"low": [], "high": TWO}, "is missing"),
        ({"critical": []}, "requires fewer"),
        ({"critical": [{"role": "approver", "count": 1}]}, "requires fewer"),
        ({"critical": "nonsense"}, "requires fewer"),
        ({"critical": [{"role": "approver", "count": -5}]}, "requires fewer"),
    ],
)
def test_otherwise_two_approvers_decide(matrix, why):
    required_approvals, reason = approvals_for_rule_change(matrix)
    assert required_approvals == TWO
    assert why in reason and "2 approvers" in reason


def test_only_a_change_of_rules_is_one():
    assert is_rule_change({"action": {"type": "config_change"}})
    assert not is_rule_change({"action": {"type": "modify_files"}})
