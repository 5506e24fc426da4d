"""
The rules about changing the rules. Pure, built in, and out of every policy's and every matrix's reach.

A change of policies or of the matrix is critical wherever it lands. It takes what the critical row asks, but never
fewer than two distinct people; where that row is missing or asks fewer, two approvers decide. So nobody changes rules
alone by choosing a lenient environment, and nobody is locked out by a row or a policy that is missing or wrong.
"""

from collections.abc import Mapping
from typing import Any

CONFIG_CHANGE = "config_change"
CLEAR_QUARANTINE = "clear_quarantine"
LEAST_PEOPLE = 2
FALLBACK: tuple[Mapping[str, Any], ...] = ({"role": "approver", "count": LEAST_PEOPLE},)


def is_about_rules(facts: Mapping[str, Any]) -> bool:
    """Whether the action changes rules: then policies only warn, and `seats_for_rules` says who decides."""
    return bool(facts["action"]["type"] == CONFIG_CHANGE)


def seats_for_rules(matrix: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The seats of a change of rules by the environment's matrix {tier: seats}, and why, in words. Raises nothing."""
    row = matrix.get("critical")
    if asks_enough(row):
        seats = [dict(seat) for seat in row or ()]
        return seats, "A change of rules takes what the approval matrix asks for critical changes."
    why = "asks fewer" if "critical" in matrix else "is missing"
    return [dict(seat) for seat in FALLBACK], (
        f"A change of rules takes at least {LEAST_PEOPLE} people, and the critical row of the approval matrix {why}; "
        f"so {LEAST_PEOPLE} approvers decide."
    )


def seats_for_quarantine(seats: Any) -> tuple[list[dict[str, Any]], str]:
    """The seats of what ends a quarantine, and why where the matrix asks nobody: somebody else has to look, too."""
    if seats:
        return [dict(seat) for seat in seats], ""
    why = "A quarantine is cleared by a second person; the approval matrix asks nobody, so an approver decides."
    return [{"role": "approver", "count": 1}], why


def asks_enough(row: Any) -> bool:
    """Whether a critical row, as the matrix keeps it or None, asks for as many people as a change of rules takes."""
    return _people(row) >= LEAST_PEOPLE


def _people(row: Any) -> int:
    """How many people a row asks for; 0 for one that does not read."""
    try:
        counts = [seat["count"] for seat in row if isinstance(seat["role"], str) and seat["role"]]
    except (TypeError, LookupError):
        return 0
    if len(counts) != len(row) or any(type(count) is not int or count < 1 for count in counts):
        return 0
    return sum(counts)
