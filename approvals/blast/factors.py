"""The factors of the blast radius: each reads the facts and returns its points, the maximum, and why.

Pure, integers only, before any weight. Every factor grows with what it counts: more of anything never scores less.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

PRODUCTION = frozenset({"prod", "production", "live", "prd"})
RISK_CLASSES = ("safe", "guarded", "dangerous")
COUNTS = ("resources", "creates", "modifies", "deletes", "changes", "lossy", "irreversible")

ENVIRONMENT = {"safe": 0, "guarded": 14, "dangerous": 24}
PRODUCTION_EXTRA, ENVIRONMENT_MAX = 6, 30
READ_ONLY = {"safe": 0, "guarded": 4, "dangerous": 8}
# From this many: points, roughly logarithmic.
TOUCHED = ((0, 0), (1, 4), (2, 7), (4, 10), (10, 14), (30, 17), (100, 20))
DELETED = ((0, 0), (1, 12), (2, 15), (10, 18))
LOSSY, IRREVERSIBLE = 8, 20
RESOURCE = {"safe": 0, "guarded": 5, "dangerous": 10}
COST = ((Decimal(0), 0), (Decimal("0.01"), 2), (Decimal(10), 4), (Decimal(100), 7), (Decimal(1000), 10))
COST_UNKNOWN = 10
ACTION_TYPE = {"safe": 0, "guarded": 4, "dangerous": 10}
DEPENDENTS = ((0, 0), (1, 4), (3, 7), (10, 11), (30, 15))
FAILED_PERCENT = ((0, 0), (1, 3), (10, 5), (25, 8), (50, 12), (75, 15))
FEWEST_RUNS = 3
"""Fewer ended runs than this do not count."""
OUTSIDE = 10

Facts = Mapping[str, Any]
FactorResult = tuple[str, int, int]
"""Why, points, maximum."""


def changes_nothing(plan: Mapping[str, Any]) -> bool:
    """Whether the plan only reads."""
    return not any(plan[name] for name in COUNTS if name != "resources")


def check_counts(facts: Facts) -> None:
    """Raise ValueError or TypeError for counts that are not whole numbers."""
    for name in COUNTS:
        _whole(facts["plan"][name], f"plan.{name}")
    if not isinstance(facts["resources"], list):
        raise TypeError("resources is not a list")


def environment(facts: Facts) -> FactorResult:
    slug, risk = facts["environment"]["slug"], _known(facts["environment"]["risk_class"])
    if changes_nothing(facts["plan"]):
        return f"{slug} is a {risk} environment, and the action only reads", READ_ONLY[risk], ENVIRONMENT_MAX
    if slug.lower() in PRODUCTION:
        why = f"{slug} is a {risk} environment, and it is production"
        return why, ENVIRONMENT[risk] + PRODUCTION_EXTRA, ENVIRONMENT_MAX
    return f"{slug} is a {risk} environment", ENVIRONMENT[risk], ENVIRONMENT_MAX


def resources_touched(facts: Facts) -> FactorResult:
    plan, slug = facts["plan"], facts["environment"]["slug"]
    if changes_nothing(plan):
        return "nothing is changed", 0, TOUCHED[-1][1]
    count = max(plan["resources"], plan["changes"])
    kinds = (("creates", "created"), ("modifies", "modified"), ("deletes", "deleted"))
    parts = [f"{plan[key]} {word}" for key, word in kinds if plan[key]]
    why = f"{things(count, facts['resources'])} in {slug}" + (f": {', '.join(parts)}" if parts else "")
    return why, _step(TOUCHED, count), TOUCHED[-1][1]


def deletions(facts: Facts) -> FactorResult:
    deleted = facts["plan"]["deletes"]
    why = f"{things(deleted, facts['resources'])} deleted" if deleted else "nothing is deleted"
    return why, _step(DELETED, deleted), DELETED[-1][1]


def irreversibility(facts: Facts) -> FactorResult:
    plan = facts["plan"]
    if plan["irreversible"]:
        return f"{count_of(plan['irreversible'], 'step')} cannot be undone", IRREVERSIBLE, IRREVERSIBLE
    if plan["lossy"]:
        return f"{count_of(plan['lossy'], 'step')} can be undone only with loss", LOSSY, IRREVERSIBLE
    return "there is nothing to undo" if changes_nothing(plan) else "every step can be undone", 0, IRREVERSIBLE


def resource_risk(facts: Facts) -> FactorResult:
    most = RESOURCE["dangerous"]
    if changes_nothing(facts["plan"]):
        return "no resource is changed", 0, most
    known = [_known(resource["risk_class"]) for resource in facts["resources"] if resource["known"]]
    unknown = sum(1 for resource in facts["resources"] if not resource["known"])
    inherited = _known(facts["environment"]["risk_class"])
    worst = max(known + ([inherited] if unknown or not known else []), key=RISK_CLASSES.index)
    why = f"the most sensitive resource touched is {worst}"
    if unknown or not known:
        why = f"not in the inventory, so taken to be as {inherited} as the environment"
        if known and worst != inherited:
            why = f"the most sensitive resource touched is {worst}; others are {why}"
    return why, RESOURCE[worst], most


def monthly_cost(facts: Facts) -> FactorResult:
    most = COST[-1][1]
    if facts["cost_delta"] is None:
        return "the monthly cost is not known, which raises the tier", COST_UNKNOWN, most
    delta = Decimal(facts["cost_delta"])
    if not delta.is_finite():
        raise ValueError(f"cost_delta is not a number: {facts['cost_delta']}")
    if delta <= 0:
        return f"saves {-delta:f} a month" if delta else "the monthly cost stays the same", 0, most
    return f"adds {delta:f} to the monthly cost", max(2, [p for start, p in COST if delta >= start][-1]), most


def action_type(facts: Facts) -> FactorResult:
    action = facts["action"]
    risk = _known(action["risk_class"])
    return f"{action['type']} is a {risk} type of action", ACTION_TYPE[risk], ACTION_TYPE["dangerous"]


def dependents(facts: Facts) -> FactorResult:
    """The resources that depend on those that are changed, directly or not, as the inventory knows them."""
    most, known = DEPENDENTS[-1][1], facts["dependents"]
    if changes_nothing(facts["plan"]):
        return "nothing is changed", 0, most
    count = _whole(known["count"], "dependents.count")
    if known["more"]:
        return "more depends on the changed resources than could be counted: the maximum is assumed", most, most
    if not count:
        return "nothing in the inventory depends on the changed resources", 0, most
    names = ", ".join(known["names"])
    others = count - len(known["names"])
    listed = f"{names} and {others} more" if names and others else names or "in other environments"
    return f"{things_that_depend(count)}: {listed}", _step(DEPENDENTS, count), most


def recent_failures(facts: Facts) -> FactorResult:
    """How often the last runs of this type on this target and environment failed or were rolled back."""
    most, known = FAILED_PERCENT[-1][1], facts["history"]
    ended, failed = _whole(known["ended"], "history.ended"), _whole(known["failed"], "history.failed")
    if failed > ended:
        raise ValueError(f"history: {failed} of {ended} failed")
    what = f"{facts['action']['type']} in {facts['environment']['slug']}"
    if ended < FEWEST_RUNS:
        return f"{count_of(ended, 'recent run') if ended else 'no recent run'} of {what}: too few to count", 0, most
    percent = max(1, failed * 100 // ended) if failed else 0
    why = f"{failed} of the last {ended} runs of {what} failed or were rolled back"
    return why if failed else f"the last {ended} runs of {what} succeeded", _step(FAILED_PERCENT, percent), most


def working_hours(facts: Facts) -> FactorResult:
    """Whether it is evaluated within the environment's declared working hours."""
    window = facts["window"]
    if not window["declared"]:
        return "no working hours are declared for this environment", 0, OUTSIDE
    if changes_nothing(facts["plan"]):
        return "nothing is changed", 0, OUTSIDE
    if type(window["outside"]) is not bool:
        raise TypeError(f"window.outside is neither yes nor no: {window['outside']!r}")
    where = "outside" if window["outside"] else "within"
    return (
        f"evaluated at {window['local']}, {where} the working hours ({window['words']})",
        OUTSIDE * window["outside"],
        OUTSIDE,
    )


FACTORS: dict[str, Callable[[Facts], FactorResult]] = {
    "environment": environment,
    "resources_touched": resources_touched,
    "deletions": deletions,
    "irreversibility": irreversibility,
    "resource_risk": resource_risk,
    "monthly_cost": monthly_cost,
    "action_type": action_type,
    "dependents": dependents,
    "recent_failures": recent_failures,
    "working_hours": working_hours,
}
"""In the order in which they are added up."""


def things(count: int, resources: Sequence[Mapping[str, Any]]) -> str:
    """A number of resources in words: as their kind, if they are all of one."""
    kinds = Counter(resource["kind"] for resource in resources)
    return count_of(count, next(iter(kinds)) if len(kinds) == 1 else "resource")


def things_that_depend(count: int) -> str:
    return f"{count_of(count, 'resource')} {'depends' if count == 1 else 'depend'} on what is changed"


def count_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _known(risk_class: str) -> str:
    if risk_class not in RISK_CLASSES:
        raise ValueError(f"unknown risk class: {risk_class}")
    return risk_class


def _step(table: Sequence[tuple[int, int]], count: int) -> int:
    return [points for start, points in table if count >= start][-1]


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is not a count: {value!r}")
    return value
