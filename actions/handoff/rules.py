"""What a tenant wants handed over, and to whom."""

from collections.abc import Iterable
from uuid import UUID

from actions.models import Action
from actions.models.handoff import SEVERITIES, USUAL, HandoffRule
from tenants.access import who_may
from tenants.models import Environment, Principal

BUILT_IN = HandoffRule(endings=list(USUAL))
MOST_TOLD = 50
BASE = {"safe": 0, "guarded": 1, "dangerous": 2}
UNKNOWN = ("in_doubt", "rollback_failed", "risk_spike")
"""Endings after which nobody knows how the target stands."""


def rules_of(environments: Iterable[Environment]) -> dict[UUID, HandoffRule]:
    """{environment id: its rule}: its own, else its tenant's, else the built-in one. One query."""
    places = {place.pk: place.tenant_id for place in environments}
    found = list(HandoffRule.objects.filter(tenant__in=set(places.values())).select_related("person"))
    own = {rule.environment_id: rule for rule in found if rule.environment_id}
    whole = {rule.tenant_id: rule for rule in found if rule.environment_id is None}
    return {pk: own.get(pk) or whole.get(tenant) or BUILT_IN for pk, tenant in places.items()}


def severity_of(risk_class: str, ending: str, standing: bool) -> str:
    """How bad it is: by the environment, and one worse where something may be left behind. Pure."""
    worse = ending in UNKNOWN or standing
    better = ending == "rolled_back"
    return SEVERITIES[max(0, min(3, BASE.get(risk_class, 1) + worse - better))]


def first_assignee(rule: HandoffRule, action: Action) -> Principal | None:
    """Who gets the ticket of an action; None where nobody in particular does. `requester__owner` must be joined.

    Whoever may no longer look at the environment does not get it: `allowed` of `opening` sees to that.
    """
    if rule.to == HandoffRule.To.PERSON:
        return rule.person
    if rule.to == HandoffRule.To.REQUESTER:
        return action.requester.owner or action.requester
    return None


def people_in(role: str, environment: Environment) -> list[Principal]:
    """The active people of a role who may look at an environment, 50 at most. Two queries."""
    if not role:
        return []
    in_role = Principal.objects.filter(groups__role__tenant=environment.tenant_id, groups__role__name=role)
    active = in_role.filter(is_active=True, kind="person").distinct().order_by("username")
    people = list(active[:MOST_TOLD])
    may = who_may("view", environment, [p.pk for p in people])
    return [p for p in people if p.pk in may]
