"""
The rules about changing the rules. Pure, built in, and out of every policy's and every matrix's reach.

A change of policies or of the matrix is critical wherever it lands. It takes what the critical row asks, but never
fewer than two distinct people; where that row is missing or asks fewer, two approvers decide. So nobody changes the rules
alone by choosing a lenient environment, and nobody is locked out by a row or a policy that is missing or wrong.
"""

from collections.abc import Mapping
from typing import Any

from approvals.judge import check_seats, words

CONFIG_CHANGE = "config_change"
LEAST_PEOPLE = 2
FALLBACK: tuple[Mapping[str, Any], ...] = ({"role": "approver", "count": LEAST_PEOPLE},)


def is_about_rules(facts: Mapping[str, Any]) -> bool:
    """Whether the action changes rules: then policies only warn, and `seats_for_rules` says who decides."""
    return bool(facts["action"]["type"] == CONFIG_CHANGE)


def seats_for_rules(matrix: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The seats of a change of rules by the environment's matrix {tier: seats}, and why, in words. Raises nothing."""
    try:
        seats = check_seats(matrix.get("critical"))
    except ValueError:
        seats = []
    if sum(seat["count"] for seat in seats) >= LEAST_PEOPLE:
        return seats, f"Rules are changed like anything critical, which takes {words(seats)}."
    fallback = [dict(seat) for seat in FALLBACK]
    why = "asks fewer" if "critical" in matrix else "is missing"
    return fallback, (
        f"Changing the rules takes at least two people, and the critical row of the matrix {why}; "
        f"so it takes {words(fallback)}."
    )
