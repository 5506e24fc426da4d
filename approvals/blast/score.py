"""Blast radius: how far the damage could reach, as a number with its reasons. Pure, integers only.

Each factor's points are weighted by the tenant's percentage (100 unless set) and added up in a fixed order until 100 is
reached, so every point of the score has a sentence. docs/blast_radius.md explains it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from approvals.blast.factors import FACTORS, changes_nothing, check_counts

__all__ = [
    "LEVELS",
    "MAX_WEIGHT",
    "THRESHOLDS",
    "DEFAULT_WEIGHT",
    "BlastRadius",
    "changes_nothing",
    "score_blast_radius",
    "tier_of",
    "weight_of",
]
LEVELS = ("low", "medium", "high", "critical")
THRESHOLDS = (0, 25, 50, 75)
MAX_SCORE = 100
DEFAULT_WEIGHT, MAX_WEIGHT = 100, 300


@dataclass(frozen=True)
class BlastRadius:
    """`factors` are {"name", "why", "points", "max", "weight"}; points sum to `score` (0–100), which decides `tier`."""

    score: int
    tier: str
    factors: list[dict[str, Any]]


def tier_of(points: int) -> str:
    """The tier a score falls into."""
    return [level for level, start in zip(LEVELS, THRESHOLDS, strict=True) if points >= start][-1]


def score_blast_radius(facts: Mapping[str, Any]) -> BlastRadius:
    """Score one plan's facts. Raises LookupError, TypeError or ValueError when facts are missing or unknown."""
    check_counts(facts)
    weights = facts["weights"]
    factors, total = [], 0
    for name, find in FACTORS.items():
        why, points, most = find(facts)
        weight = weight_of(weights, name)
        points, most = _weighted(points, weight), min(MAX_SCORE, _weighted(most, weight))
        if points > MAX_SCORE - total:
            points, why = MAX_SCORE - total, f"{why} (the score stops at 100)"
        total += points
        factors.append({"name": name, "why": why, "points": points, "max": most, "weight": weight})
    return BlastRadius(total, tier_of(total), factors)


def weight_of(weights: Mapping[str, Any], name: str) -> int:
    """The weight of one factor in per cent; only those other than 100 need to be named. Raises ValueError."""
    weight = weights.get(name, DEFAULT_WEIGHT)
    if type(weight) is not int or not 0 <= weight <= MAX_WEIGHT:
        raise ValueError(f"weights.{name} is not a percentage from 0 to {MAX_WEIGHT}: {weight!r}")
    return weight


def _weighted(points: int, percent: int) -> int:
    """Half a point counts as one."""
    return (points * percent + 50) // 100


def make_reason(rule: str, effect: str, message: str) -> dict[str, str]:
    return {"rule": rule, "effect": effect, "message": message}


def effective_tier(facts: Mapping[str, Any], blast: BlastRadius) -> tuple[str, list[dict[str, str]]]:
    """The effective tier: the score's, raised by the rules that a low score does not lift; with a reason for each."""
    action, tier = facts["action"], LEVELS.index(blast.tier)
    reasons = [
        make_reason("blast_radius", "raise", f"The blast radius is {blast.score} of 100, which is {blast.tier}.")
    ]
    level = LEVELS.index(action["security_level"])
    if level > tier:
        tier = level
        reasons.append(
            make_reason(
                "security_level",
                "raise",
                f"The action's security level is {LEVELS[level]}, so the tier is at least that.",
            )
        )
    if action["risk_class"] == "dangerous" and tier < LEVELS.index("high"):
        tier = LEVELS.index("high")
        reasons.append(
            make_reason(
                "risk_class", "raise", f"{action['type']} is dangerous, and dangerous types are never below high."
            )
        )
    if facts["cost_delta"] is None and tier < len(LEVELS) - 1:
        tier += 1
        reasons.append(
            make_reason(
                "unknown_cost", "raise", f"The cost is not known, which raises the tier by one, to {LEVELS[tier]}."
            )
        )
    return LEVELS[tier], reasons
