"""Look at an action, and if asked to, wait until it is where the caller wants it."""

import time
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Schema

from actions.api.caller import access_of, refuse_unknown
from actions.api.listing import states_named
from actions.api.reads import one
from actions.live.database import asking
from actions.live.ears import listening
from actions.live.standing import Standing
from actions.models import Action
from actions.states import ACTIVE, ENDED
from actions.verbs import find
from audit.errors import Unauthenticated
from tenants.access import Access

LOOK_AGAIN_S = 5.0
"""The longest that a wait goes without a look, whatever is said or lost."""


class Patience(Schema):
    """How long to wait for what."""

    wait_s: float = Field(0, ge=0, le=25)
    state: str = Field(
        "", max_length=300, description="States, separated by commas; also `live`, `ended`, `pending`, `running`."
    )
    vocabulary: Literal["", "seed"] = ""

    def is_over(self, state: str) -> bool:
        """Whether an action in this state is where the caller wants it, or can no longer get there."""
        if self.state:
            return state in states_named(self.state) or state in ENDED
        return state not in ACTIVE


async def wait_for(request: HttpRequest, action_id: str, patience: Patience) -> dict[str, Any]:
    """The action as it stands when the wait is over. Holds no database connection while it waits."""
    refuse_unknown(request, Patience)
    states_named(patience.state)
    access = access_of(request)
    action = await _looked(access, action_id)
    if patience.wait_s and not patience.is_over(action.state):
        await _until(patience, access, action)
        access = await asking(_again)(Standing.of_request(request))
        action = await _looked(access, action_id)
    return await asking(one)(access, action, patience.vocabulary)


async def _until(patience: Patience, access: Access, action: Action) -> None:
    deadline = time.monotonic() + patience.wait_s
    async with listening(action.pk, action.environment_id, access.principal.pk) as ear:
        while not patience.is_over(await _state_of(action.pk)):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            await ear.wait(min(left, LOOK_AGAIN_S))


def _again(standing: Standing) -> Access:
    """Who waited may have been signed out meanwhile, or have lost a role."""
    access = standing.access()
    if access is None:
        raise Unauthenticated
    return access


@asking
def _looked(access: Access, action_id: str) -> Action:
    return find(access, action_id)


@asking
def _state_of(action_id: UUID) -> str:
    return Action.objects.values_list("state", flat=True).get(pk=action_id)
