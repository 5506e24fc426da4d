"""The judgement: facts in, verdict out. Pure: no clock, no database, no settings.

This is the seam for guard policies: they read the same facts and add to the same reasons. Whatever is missing,
malformed or unknown denies.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from approvals.blast import LEVELS, Blast, score
from approvals.blast_factors import changes_nothing

Outcome = Literal["deny", "hold", "allow"]
STRICTNESS: dict[str, int] = {"allow": 0, "hold": 1, "deny": 2}


@dataclass(frozen=True)
class Verdict:
    """`tier` is the effective one. `seats` are {"role", "count"}.

    `acceptance`: nobody but the requester is asked, and only for the dry-run diff. `reasons` are {"rule", "effect",
    "message"}, in the order in which they applied; effects are raise, require, allow and deny.

    `rulings` says of every guard policy that was asked what it came to, also of those that did not apply, in order:
    {"policy": id, "slug", "version", "effect", "mode", "seats", "value": true, false or null, "error"}.
    """

    outcome: Outcome
    tier: str
    seats: list[dict[str, Any]]
    acceptance: bool
    reasons: list[dict[str, str]]
    blast: Blast
    rulings: list[dict[str, Any]] = field(default_factory=list)


def judge(facts: Mapping[str, Any]) -> Verdict:
    """Judge one plan by its facts (their shape: docs/blast_radius.md).

    Raises nothing: facts that do not read as agreed are denied, and the reason says so.
    """
    try:
        blast = score(facts)
        tier, reasons = effective(facts, blast)
        seats = _seats(facts["matrix"], tier)
        asks = not changes_nothing(facts["plan"]) and not facts["action"]["accepted_in_advance"]
        slug, simulated = facts["environment"]["slug"], is_simulated(facts)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return _unreadable(error)
    if seats is None:
        message = (
            f"The approval matrix has no row for {tier} changes in {slug}, and what is not allowed is denied. "
            "A tenant admin can add the row."
        )
        return Verdict("deny", tier, [], False, [*reasons, _reason("matrix", "deny", message)], blast)
    if simulated:
        return Verdict("allow", tier, [], False, [*reasons, _reason("simulation", "allow", _simulated(seats))], blast)
    if seats:
        message = f"The approval matrix asks for {words(seats)} for {tier} changes in {slug}."
        return Verdict("hold", tier, seats, False, [*reasons, _reason("matrix", "require", message)], blast)
    reasons = [*reasons, _reason("matrix", "allow", f"The approval matrix asks nobody for {tier} changes in {slug}.")]
    if asks:
        message = "Nobody else is asked, so the requester has to accept the dry-run diff before it runs."
        return Verdict("hold", tier, [], True, [*reasons, _reason("acceptance", "require", message)], blast)
    return Verdict("allow", tier, [], False, reasons, blast)


def is_simulated(facts: Mapping[str, Any]) -> bool:
    """Whether the run would change nothing whatever its plan says."""
    return bool(facts["action"].get("mode", "apply") == "simulate")


def _simulated(seats: Sequence[Mapping[str, Any]]) -> str:
    real = f"To run it for real, the matrix asks for {words(seats)}." if seats else "The matrix asks nobody anyway."
    return f"It is simulated, so nothing is changed and the approval matrix asks nobody. {real}"


def stricter(new: Verdict, old_seats: Sequence[Mapping[str, Any]], old_outcome: str) -> bool:
    """Whether what the old verdict granted does not cover the new one: a harsher outcome, or a seat not asked for."""
    if STRICTNESS[new.outcome] > STRICTNESS[old_outcome]:
        return True
    return bool(demand(new.seats) - demand(old_seats))


def demand(seats: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """How many people each role must bring. A role may stand in several rows."""
    wanted: Counter[str] = Counter()
    for seat in seats:
        wanted[seat["role"]] += seat["count"]
    return wanted


def words(seats: Sequence[Mapping[str, Any]]) -> str:
    """Seats in words: "2 × approver, 1 × security"."""
    return ", ".join(f"{count} × {role}" for role, count in demand(seats).items())


def check_seats(seats: Any) -> list[dict[str, Any]]:
    """The seats, if they are a list of {"role": text, "count": whole number ≥ 1}. Raises ValueError: what is wrong."""
    if not isinstance(seats, list):
        raise ValueError("Seats are a list of roles and counts.")
    for seat in seats:
        if not isinstance(seat, dict) or set(seat) != {"role", "count"}:
            raise ValueError("A seat has a role and a count, and nothing else.")
        if not isinstance(seat["role"], str) or not seat["role"]:
            raise ValueError("A seat names its role.")
        if type(seat["count"]) is not int or seat["count"] < 1:
            raise ValueError(f"The seat for {seat['role']} needs a count of at least 1.")
    return seats


def effective(facts: Mapping[str, Any], blast: Blast) -> tuple[str, list[dict[str, str]]]:
    """The tier after the floors that no score lifts, and a reason for each that applied."""
    action, tier = facts["action"], LEVELS.index(blast.tier)
    reasons = [_reason("blast_radius", "raise", f"The blast radius is {blast.score} of 100, which is {blast.tier}.")]
    level = LEVELS.index(action["security_level"])
    if level > tier:
        tier = level
        reasons.append(
            _reason(
                "security_level",
                "raise",
                f"The action's security level is {LEVELS[level]}, so the tier is at least that.",
            )
        )
    if action["risk_class"] == "dangerous" and tier < LEVELS.index("high"):
        tier = LEVELS.index("high")
        reasons.append(
            _reason("risk_class", "raise", f"{action['type']} is dangerous, and dangerous is never below high.")
        )
    if facts["cost_delta"] is None and tier < len(LEVELS) - 1:
        tier += 1
        reasons.append(
            _reason(
                "unknown_cost", "raise", f"What it costs is not known, which raises the tier by one, to {LEVELS[tier]}."
            )
        )
    return LEVELS[tier], reasons


def _seats(matrix: Mapping[str, Any], tier: str) -> list[dict[str, Any]] | None:
    return check_seats(matrix[tier]) if tier in matrix else None


def _unreadable(error: Exception) -> Verdict:
    factor = {
        "name": "unreadable",
        "why": "the facts could not be read, so the worst is assumed",
        "points": 100,
        "max": 100,
    }
    message = (
        f"The facts about this action could not be judged ({type(error).__name__}: {error}), "
        "and what cannot be judged is denied."
    )
    return Verdict("deny", "critical", [], False, [_reason("facts", "deny", message)], Blast(100, "critical", [factor]))


def _reason(rule: str, effect: str, message: str) -> dict[str, str]:
    return {"rule": rule, "effect": effect, "message": message}
