"""The rules about changing the rules: never fewer than two people, and never nobody."""

import pytest

from approvals.builtin import is_about_rules, seats_for_rules

TWO = [{"role": "approver", "count": 2}]
MIXED = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]


@pytest.mark.parametrize("seats", [TWO, MIXED, [{"role": "security", "count": 3}]])
def test_a_critical_row_of_two_people_or_more_stands(seats):
    assert seats_for_rules({"critical": seats, "low": []})[0] == seats


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        ({}, "is missing"),
        ({"low": [], "high": TWO}, "is missing"),
        ({"critical": []}, "asks fewer"),
        ({"critical": [{"role": "approver", "count": 1}]}, "asks fewer"),
        ({"critical": "nonsense"}, "asks fewer"),
        ({"critical": [{"role": "approver", "count": -5}]}, "asks fewer"),
    ],
)
def test_otherwise_two_approvers_decide(matrix, why):
    seats, reason = seats_for_rules(matrix)
    assert seats == TWO
    assert why in reason and "2 approvers" in reason


def test_only_a_change_of_rules_is_one():
    assert is_about_rules({"action": {"type": "config_change"}})
    assert not is_about_rules({"action": {"type": "modify_files"}})
