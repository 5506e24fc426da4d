"""What this floor lets go of: what a person wrote about their actions, and the log of actions that ended for good."""

from uuid import UUID

from actions.models import Action
from actions.states import ENDED, State
from audit.retention.archives import register_ended_check
from audit.retention.erasure import register_eraser

ERASED = "(erased)"
FOR_GOOD = [state for state in ENDED if state != State.FAILED]
"""What failed may still be rolled back, by a person, however late."""


def connect() -> None:
    register_eraser("actions", erase_words)
    register_ended_check("action", ended)


def erase_words(tenant: UUID, person: UUID) -> int:
    """Take title, reason and ticket from the actions that a person proposed; return how many."""
    theirs = Action.objects.filter(tenant=tenant, requester=person).exclude(title=ERASED)
    return theirs.update(title=ERASED, reason=ERASED, ticket="", external_url="")


def ended(ids: list[UUID]) -> set[UUID]:
    """Those of these actions that will not move again."""
    return set(Action.objects.filter(pk__in=ids, state__in=FOR_GOOD).values_list("pk", flat=True))
