"""Blast radius: how far the damage could reach, as a number with its reasons. Pure, integers only.

Each factor's points are weighted by what the tenant says (a percentage, 100 unless set) and added up in a fixed order
until 100 is reached, so every point of the score can be traced to a sentence. docs/blast_radius.md says it in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from approvals.blast_factors import FACTORS, changes_nothing, check_counts

__all__ = ["LEVELS", "MOST_WEIGHT", "THRESHOLDS", "USUAL", "Blast", "changes_nothing", "score", "tier_of", "weight_in"]
LEVELS = ("low", "medium", "high", "critical")
THRESHOLDS = (0, 25, 50, 75)
MOST = 100
USUAL, MOST_WEIGHT = 100, 300


@dataclass(frozen=True)
class Blast:
    """`factors` are {"name", "why", "points", "max", "weight"}; points sum to `score` (0–100), which decides `tier`."""

    score: int
    tier: str
    factors: list[dict[str, Any]]


def tier_of(points: int) -> str:
    """The tier a score falls into."""
    return [level for level, start in zip(LEVELS, THRESHOLDS, strict=True) if points >= start][-1]


def score(facts: Mapping[str, Any]) -> Blast:
    """Score one plan's facts. Raises LookupError, TypeError or ValueError when facts are missing or unknown."""
    check_counts(facts)
    weights = facts.get("weights") or {}
    factors, total = [], 0
    for name, find in FACTORS.items():
        why, points, most = find(facts)
        weight = weight_in(weights, name)
        points, most = _weighted(points, weight), min(MOST, _weighted(most, weight))
        if points > MOST - total:
            points, why = MOST - total, f"{why} (the score stops at 100)"
        total += points
        factors.append({"name": name, "why": why, "points": points, "max": most, "weight": weight})
    return Blast(total, tier_of(total), factors)


def weight_in(weights: Mapping[str, Any], name: str) -> int:
    """The weight of one factor in per cent; only those other than 100 need to be named. Raises ValueError."""
    weight = weights.get(name, USUAL)
    if type(weight) is not int or not 0 <= weight <= MOST_WEIGHT:
        raise ValueError(f"weights.{name} is no percentage from 0 to {MOST_WEIGHT}: {weight!r}")
    return weight


def _weighted(points: int, percent: int) -> int:
    """Half a point counts as one."""
    return (points * percent + 50) // 100
