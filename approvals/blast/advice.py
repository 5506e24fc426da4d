"""Advice on lowering the tier: single changes to a proposal, each with the score and tier it leads to. Pure.

A candidate is a sentence and the facts as they would be; it is kept only if those facts evaluate to a lower tier.
Where a change leaves open what exactly would remain (which files a smaller batch holds), the facts assume the worst.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from approvals.blast.factors import COST, DELETED, PRODUCTION, RISK_CLASSES, TOUCHED, changes_nothing, count_of, things
from approvals.blast.score import LEVELS, effective_tier, score_blast_radius

Facts = Mapping[str, Any]
Candidate = tuple[str, dict[str, Any]]
MAX_NAMED = 3
CENT = Decimal("0.01")


def advise(facts: Facts, tier: str) -> list[dict[str, Any]]:
    """Each single change that would lower `tier`, the evaluated one: {"what", "score", "tier"}, the lowest first.

    Empty for the lowest tier, for facts that cannot be read, and where something else than these facts raises the tier.
    """
    try:
        if tier == LEVELS[0] or score_and_tier(facts)[1] != tier:
            return []
        return _advice(facts, tier)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return []


def score_and_tier(facts: Facts) -> tuple[int, str]:
    """The score of facts, and their effective tier."""
    blast = score_blast_radius(facts)
    return blast.score, effective_tier(facts, blast)[0]


def _advice(facts: Facts, tier: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind in (_deletions, _batches, _separate_sensitive, _undo, _cost, _hours, _other_environment):
        for what, then in kind(facts):
            points, reached = score_and_tier(then)
            if LEVELS.index(reached) < LEVELS.index(tier):
                found.append({"what": what, "score": points, "tier": reached})
                break  # of each kind the smallest change that is enough
    return sorted(found, key=lambda advice: advice["score"])


def _deletions(facts: Facts) -> Iterator[Candidate]:
    """Fewer deletions: the rest is not in the plan."""
    plan = facts["plan"]
    deletes = plan["deletes"]
    for most in sorted({start - 1 for start, _ in DELETED if 0 < start <= deletes}, reverse=True):
        less = deletes - most
        rest = plan["creates"] + plan["modifies"]
        changes = max(plan["changes"] - less, min(plan["changes"], rest + most))
        if not changes:
            continue
        then = {**plan, "deletes": most, "changes": changes, "resources": max(plan["resources"] - less, changes)}
        words = f"Delete at most {most} instead of {deletes}" if most else "Delete nothing here"
        yield f"{words}, and leave the rest to an action of its own.", {**facts, "plan": then}


def _batches(facts: Facts) -> Iterator[Candidate]:
    """Several smaller actions: each holds, at worst, as much of everything as fits."""
    plan = facts["plan"]
    count = max(plan["changes"], plan["resources"])
    if changes_nothing(plan) or count < 2:
        return
    for most in sorted({s - 1 for table in (TOUCHED, DELETED) for s, _ in table if 1 < s <= count}, reverse=True):
        then = {name: min(value, most) if type(value) is int else value for name, value in plan.items()}
        batches = -(-count // most)
        words = f"Split it into {batches} actions that touch at most {things(most, facts['resources'])} each."
        yield words, {**facts, "plan": then}


def _separate_sensitive(facts: Facts) -> Iterator[Candidate]:
    """The most sensitive resources in an action of their own, if the inventory knows them and others remain."""
    resources = facts["resources"]
    if changes_nothing(facts["plan"]) or not all(r["known"] for r in resources):
        return
    worst = max((RISK_CLASSES.index(r["risk_class"]) for r in resources), default=0)
    rest = [r for r in resources if RISK_CLASSES.index(r["risk_class"]) < worst]
    if rest:
        names = [r["name"] for r in resources if RISK_CLASSES.index(r["risk_class"]) == worst]
        named = ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if names[MAX_NAMED:] else "")
        what = f"Change {RISK_CLASSES[worst]} resources in an action of their own: {named}."
        yield what, {**facts, "resources": rest}


def _undo(facts: Facts) -> Iterator[Candidate]:
    plan = facts["plan"]
    for name, how in (("lossy", "only with loss"), ("irreversible", "not at all")):
        if plan[name]:
            steps = count_of(plan[name], "step")
            then = {**plan, name: 0, "reversible": plan["reversible"] + plan[name]}
            yield f"Find a way to undo the {steps} that can be undone {how}.", {**facts, "plan": then}


def _cost(facts: Facts) -> Iterator[Candidate]:
    delta = facts["cost_delta"]
    limits = [start for start, _ in reversed(COST) if start > CENT and (delta is None or Decimal(delta) >= start)]
    for limit in limits:
        advice = "State its cost: enough if it is" if delta is None else "Keep the added monthly cost"
        yield f"{advice} less than {limit:,f}.", {**facts, "cost_delta": str(limit - CENT)}
    if delta is None or Decimal(delta) > 0:
        advice = "State its cost, if it adds none" if delta is None else "Add nothing to the monthly cost"
        yield f"{advice}.", {**facts, "cost_delta": "0"}


def _hours(facts: Facts) -> Iterator[Candidate]:
    window = facts.get("window")
    if window and window["outside"]:
        slug, words = facts["environment"]["slug"], window["words"]
        yield f"Run it within the working hours of {slug}: {words}.", {**facts, "window": {**window, "outside": False}}


def _other_environment(facts: Facts) -> Iterator[Candidate]:
    """Another environment first, all else the same; unknown resources are then as risky as that environment."""
    environment = facts["environment"]
    here = RISK_CLASSES.index(environment["risk_class"])
    if environment["slug"].lower() in PRODUCTION and not changes_nothing(facts["plan"]):
        then = {**environment, "slug": "elsewhere"}
        yield "Try it first in an environment that is not production.", {**facts, "environment": then}
    for risk in reversed(RISK_CLASSES[:here]):
        then = {**environment, "slug": "elsewhere", "risk_class": risk}
        yield f"Try it first in a {risk} environment.", {**facts, "environment": then}
