"""Blast radius: how far the damage could reach, as a number with its reasons. Pure, integers only.

Every factor has a maximum; the maxima sum to 100, so the score needs no scaling and each point can be traced to a
sentence. docs/blast_radius.md says it in words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

LEVELS = ("low", "medium", "high", "critical")
THRESHOLDS = (0, 25, 50, 75)
PRODUCTION = frozenset({"prod", "production", "live", "prd"})
RISK_CLASSES = ("safe", "guarded", "dangerous")
COUNTS = ("resources", "creates", "modifies", "deletes", "changes", "lossy", "irreversible")

ENVIRONMENT = {"safe": 0, "guarded": 14, "dangerous": 24}
PRODUCTION_EXTRA, ENVIRONMENT_MAX = 6, 30
READ_ONLY = {"safe": 0, "guarded": 4, "dangerous": 8}
TOUCHED = (
    (0, 0),
    (1, 4),
    (2, 7),
    (4, 10),
    (10, 14),
    (30, 17),
    (100, 20),
)  # from this many: points, roughly logarithmic
DELETED = ((0, 0), (1, 12), (2, 15), (10, 18))
LOSSY, IRREVERSIBLE = 8, 20
RESOURCE = {"safe": 0, "guarded": 5, "dangerous": 10}
COST = ((Decimal(0), 0), (Decimal("0.01"), 2), (Decimal(10), 4), (Decimal(100), 7), (Decimal(1000), 10))
COST_UNKNOWN = 10
ACTION_TYPE = {"safe": 0, "guarded": 4, "dangerous": 10}


@dataclass(frozen=True)
class Blast:
    """`factors` are {"name", "why", "points", "max"}; the points sum to `score` (0–100), which alone decides `tier`."""

    score: int
    tier: str
    factors: list[dict[str, Any]]


def tier_of(points: int) -> str:
    """The tier a score falls into."""
    return [level for level, start in zip(LEVELS, THRESHOLDS, strict=True) if points >= start][-1]


def score(facts: Mapping[str, Any]) -> Blast:
    """Score one plan's facts. Raises LookupError, TypeError or ValueError when facts are missing or unknown."""
    _check_counts(facts)
    factors = [_environment(facts), _touched(facts), _undo(facts), _resources(facts), _cost(facts), _action_type(facts)]
    points = sum(factor["points"] for factor in factors)
    return Blast(points, tier_of(points), factors)


def changes_nothing(plan: Mapping[str, Any]) -> bool:
    """Whether the plan only reads."""
    return not any(plan[name] for name in COUNTS if name != "resources")


def _check_counts(facts: Mapping[str, Any]) -> None:
    for name in COUNTS:
        if type(facts["plan"][name]) is not int or facts["plan"][name] < 0:
            raise ValueError(f"plan.{name} is no count: {facts['plan'][name]!r}")
    if not isinstance(facts["resources"], list):
        raise TypeError("resources is no list")


def _factor(name: str, why: str, points: int, most: int) -> dict[str, Any]:
    return {"name": name, "why": why, "points": points, "max": most}


def _environment(facts: Mapping[str, Any]) -> dict[str, Any]:
    slug, risk = facts["environment"]["slug"], _known(facts["environment"]["risk_class"])
    if changes_nothing(facts["plan"]):
        return _factor(
            "environment", f"{slug} is a {risk} environment, and it is only read", READ_ONLY[risk], ENVIRONMENT_MAX
        )
    if slug.lower() in PRODUCTION:
        return _factor(
            "environment",
            f"{slug} is a {risk} environment, and it is production",
            ENVIRONMENT[risk] + PRODUCTION_EXTRA,
            ENVIRONMENT_MAX,
        )
    return _factor("environment", f"{slug} is a {risk} environment", ENVIRONMENT[risk], ENVIRONMENT_MAX)


def _touched(facts: Mapping[str, Any]) -> dict[str, Any]:
    plan, slug = facts["plan"], facts["environment"]["slug"]
    if changes_nothing(plan):
        return _factor("resources_touched", "nothing is changed", 0, TOUCHED[-1][1])
    count = max(plan["resources"], plan["changes"])
    parts = [
        f"{plan[key]} {word}"
        for key, word in (("creates", "created"), ("modifies", "modified"), ("deletes", "deleted"))
        if plan[key]
    ]
    why = f"{_things(count, facts['resources'])} in {slug}" + (f": {', '.join(parts)}" if parts else "")
    return _factor("resources_touched", why, _step(TOUCHED, count), TOUCHED[-1][1])


def _undo(facts: Mapping[str, Any]) -> dict[str, Any]:
    plan = facts["plan"]
    reasons = [
        (IRREVERSIBLE, f"{_count(plan['irreversible'], 'step')} cannot be undone") if plan["irreversible"] else None,
        (_step(DELETED, plan["deletes"]), f"{_things(plan['deletes'], facts['resources'])} deleted")
        if plan["deletes"]
        else None,
        (LOSSY, f"{_count(plan['lossy'], 'step')} can be undone only with loss") if plan["lossy"] else None,
    ]
    told = [reason for reason in reasons if reason]
    if not told:
        why = (
            "there is nothing to undo" if changes_nothing(plan) else "nothing is deleted, and every step can be undone"
        )
        return _factor("irreversibility", why, 0, IRREVERSIBLE)
    return _factor(
        "irreversibility", ", ".join(words for _, words in told), max(points for points, _ in told), IRREVERSIBLE
    )


def _resources(facts: Mapping[str, Any]) -> dict[str, Any]:
    most = RESOURCE["dangerous"]
    if changes_nothing(facts["plan"]):
        return _factor("resource_risk", "no resource is changed", 0, most)
    known = [_known(resource["risk_class"]) for resource in facts["resources"] if resource["known"]]
    strangers = sum(1 for resource in facts["resources"] if not resource["known"])
    inherited = _known(facts["environment"]["risk_class"])
    classes = known + ([inherited] if strangers or not known else [])
    worst = max(classes, key=RISK_CLASSES.index)
    why = f"the most sensitive resource touched is {worst}"
    if strangers or not known:
        why = f"not in the inventory, so taken to be as {inherited} as the environment"
        if known and worst != inherited:
            why = f"the most sensitive resource touched is {worst}; others are {why}"
    return _factor("resource_risk", why, RESOURCE[worst], most)


def _cost(facts: Mapping[str, Any]) -> dict[str, Any]:
    if facts["cost_delta"] is None:
        return _factor(
            "monthly_cost",
            "what it adds to the monthly cost is not known, which raises the tier",
            COST_UNKNOWN,
            COST[-1][1],
        )
    delta = Decimal(facts["cost_delta"])
    if not delta.is_finite():
        raise ValueError(f"cost_delta is not a number: {facts['cost_delta']}")
    if delta <= 0:
        return _factor(
            "monthly_cost", f"saves {-delta:f} a month" if delta else "the monthly cost stays the same", 0, COST[-1][1]
        )
    points = max(2, [p for start, p in COST if delta >= start][-1])
    return _factor("monthly_cost", f"adds {delta:f} to the monthly cost", points, COST[-1][1])


def _action_type(facts: Mapping[str, Any]) -> dict[str, Any]:
    action = facts["action"]
    risk = _known(action["risk_class"])
    return _factor(
        "action_type", f"{action['type']} is a {risk} type of action", ACTION_TYPE[risk], ACTION_TYPE["dangerous"]
    )


def _known(risk_class: str) -> str:
    if risk_class not in RISK_CLASSES:
        raise ValueError(f"unknown risk class: {risk_class}")
    return risk_class


def _step(table: Sequence[tuple[int, int]], count: int) -> int:
    return [points for start, points in table if count >= start][-1]


def _things(count: int, resources: Sequence[Mapping[str, Any]]) -> str:
    kinds = Counter(resource["kind"] for resource in resources)
    return _count(count, next(iter(kinds)) if len(kinds) == 1 else "resource")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
