"""The freeze of an environment, its effect on actions, and the status of the environment."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from actions.controls.limits import count_running, is_limited
from actions.controls.sql import RUNNING
from actions.models import Action, ConcurrencyLimit, Freeze
from actions.models.states import State
from tenants.access import Access
from tenants.models import Environment

FREEZE = "freeze"
"""Stop reason and held reason of runs in a frozen environment."""


def is_frozen() -> Exists:
    """An annotation for actions: whether their environment is frozen. Costs no statement of its own."""
    return Exists(Freeze.objects.filter(environment=OuterRef("environment"), lifted_at=None))


def reload_with_limits(action_ids: Iterable[UUID]) -> dict[UUID, Action]:
    """
    Actions as they are now, with `may_go_on` and `is_limited`. One query.

    In a frozen environment, a running action gets a stop request if it has none: a run that started at the moment of
    the freeze was missed by it. An action that has not started may not start.
    """
    found: QuerySet[Action] = Action.objects.annotate(is_off=is_frozen(), is_limited=is_limited())
    now = {a.pk: a for a in found.filter(pk__in=list(action_ids))}
    for action in now.values():
        off: bool = action.is_off  # type: ignore[attr-defined]
        action.may_go_on = not (off and action.state == State.APPROVED)  # type: ignore[attr-defined]
        if off and action.state in RUNNING and action.stop_requested_at is None:
            action.stop_requested_at, action.stop_reason = timezone.now(), FREEZE
    return now


# The status of an environment: freeze, held and waiting actions, concurrency limits.


MAX_COUNTED = 100
MAX_CAPS = 200


@dataclass(frozen=True)
class EnvironmentStatus:
    """Counts stop at 100."""

    hold: Freeze | None
    holding: int
    waiting: int


def environment_status(environment: Environment) -> EnvironmentStatus:
    """Three queries."""
    here = Action.objects.filter(environment=environment).order_by()
    holding = here.filter(state=State.HELD, held_reason=FREEZE)[:MAX_COUNTED].count()
    waiting = here.filter(tenant=environment.tenant_id, state=State.APPROVED, lease=None)[:MAX_COUNTED].count()
    return EnvironmentStatus(freeze_of(environment), holding, waiting)


def visible_limits(access: Access, environment: Environment | None = None) -> list[tuple[ConcurrencyLimit, int]]:
    """
    The concurrency limits of environments that the caller may view (or of this one), with running counts. Two queries.
    """
    places = [environment.pk] if environment else access.environments_where("view")
    found = ConcurrencyLimit.objects.filter(Q(environment=None) | Q(environment__in=places), tenant=access.tenant)
    limits = list(found.select_related("environment").order_by("environment__slug", "type")[:MAX_CAPS])
    running = count_running(limits)
    return [(limit, running[limit.pk]) for limit in limits]


def visible_freezes(access: Access) -> list[Freeze]:
    """The freezes in force that the caller may view, oldest first. One query."""
    return sorted(freezes_in(access.environments_where("view")).values(), key=lambda hold: hold.since)


def freeze_of(environment: Environment) -> Freeze | None:
    """The freeze of an environment, while it is frozen."""
    return freezes_in([environment.pk]).get(environment.pk)


def freezes_in(environment_ids: Iterable[UUID]) -> dict[UUID, Freeze]:
    """The freezes in force, by environment. One query."""
    found = Freeze.objects.filter(environment__in=list(environment_ids), lifted_at=None)
    return {hold.environment_id: hold for hold in found.select_related("environment", "set_by")}
