"""How an environment stands: its switch, what it holds, what waits there, and the caps that count its actions."""

from dataclasses import dataclass

from django.db.models import Q

from actions.models import Action, Cap, EnvironmentHold
from actions.scheduling.caps import running_of
from actions.scheduling.standing import SWITCH
from actions.scheduling.switch import hold_of, holds_in
from actions.states import State
from tenants.access import Access
from tenants.models import Environment

MOST_COUNTED = 100
MOST_CAPS = 200


@dataclass(frozen=True)
class Standing:
    """Counts stop at 100."""

    hold: EnvironmentHold | None
    holding: int
    waiting: int


def state_of(environment: Environment) -> Standing:
    """Three queries."""
    here = Action.objects.filter(environment=environment).order_by()
    holding = here.filter(state=State.HELD, held_reason=SWITCH)[:MOST_COUNTED].count()
    waiting = here.filter(tenant=environment.tenant_id, state=State.APPROVED, lease=None)[:MOST_COUNTED].count()
    return Standing(hold_of(environment), holding, waiting)


def caps_seen(access: Access, environment: Environment | None = None) -> list[tuple[Cap, int]]:
    """The caps of the caller's tenant that count what they may view (there), with how many run. Two queries."""
    places = [environment.pk] if environment else access.environments_where("view")
    found = Cap.objects.filter(Q(environment=None) | Q(environment__in=places), tenant=access.tenant)
    caps = list(found.select_related("environment").order_by("environment__slug", "type")[:MOST_CAPS])
    running = running_of(caps)
    return [(cap, running[cap.pk]) for cap in caps]


def holds_seen(access: Access) -> list[EnvironmentHold]:
    """The switches that are set where the caller may view, oldest first. One query."""
    return sorted(holds_in(access.environments_where("view")).values(), key=lambda hold: hold.since)
