"""How actions stand whose write was refused: moved on, switched off meanwhile, or under a cap set meanwhile."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from actions.models import Action, EnvironmentHold
from actions.scheduling.caps import is_capped
from actions.scheduling.rules import RUNNING
from actions.states import State

SWITCH = "switch"
"""Why a run was asked to stop, and is held: its environment's switch is set."""


def is_off() -> Exists:
    """Of a query on actions: whether the switch of the row's environment is set. Rides along; costs no statement."""
    return Exists(EnvironmentHold.objects.filter(environment=OuterRef("environment"), lifted_at=None))


def as_they_stand(action_ids: Iterable[UUID]) -> dict[UUID, Action]:
    """
    Actions as they are now, with `may_go_on` and `is_capped`. One query.

    Where the switch is set, one that has begun is asked to stop, if nobody has asked yet: a run that began in the very
    moment in which the switch was thrown was not there to be asked. One that has not begun may not go on.
    """
    found: QuerySet[Action] = Action.objects.annotate(is_off=is_off(), is_capped=is_capped())
    now = {a.pk: a for a in found.filter(pk__in=list(action_ids))}
    for action in now.values():
        off: bool = action.is_off  # type: ignore[attr-defined]
        action.may_go_on = not (off and action.state == State.APPROVED)  # type: ignore[attr-defined]
        if off and action.state in RUNNING and action.stop_requested_at is None:
            action.stop_requested_at, action.stop_why = timezone.now(), SWITCH
    return now
