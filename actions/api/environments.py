"""The switch of an environment, and caps, over HTTP."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema

from actions.api.caller import access_of, correlation_of
from actions.api.schemas import Body
from actions.scheduling.places import caps_seen, state_of
from actions.scheduling.switch import find_place, lift, throw
from audit.errors import Forbidden
from tenants.access import Access

router = Router(tags=["environments"])


class SwitchIn(Body):
    reason: str = Field(..., description="Why; kept with the event.", json_schema_extra={"maxLength": 2000})


class SwitchOut(Schema):
    environment: str
    held: bool
    reason: str | None
    since: datetime | None
    by: str | None
    holding: int = Field(..., description="How many actions it holds now; 100 stands for more than 99.")
    waiting: int = Field(..., description="How many approved actions wait there; 100 stands for more than 99.")


class ReleasedOut(SwitchOut):
    resumed: int = Field(..., description="How many went on at once; others follow as caps let them.")


class CapOut(Schema):
    environment: str | None = Field(..., description="Null: all environments together.")
    type: str | None = Field(..., description="Null: all types together.")
    most: int
    running: int


class CapsOut(Schema):
    items: list[CapOut]


@router.get("/environments/{slug}/hold", response=SwitchOut, summary="Whether an environment is held")
def read_hold(request: HttpRequest, slug: str) -> dict[str, Any]:
    """The operator's switch: while it is set nothing starts there, and what runs is held at its next checkpoint."""
    return _shown(access_of(request), slug)


@router.post("/environments/{slug}/hold", response=SwitchOut, summary="Hold an environment")
def hold(request: HttpRequest, slug: str, body: SwitchIn) -> dict[str, Any]:
    """For who operates or administers it. 409 where it is held already."""
    throw(access_of(request), slug, body.reason, correlation_id=correlation_of(request))
    return _shown(access_of(request), slug)


@router.post("/environments/{slug}/release", response=ReleasedOut, summary="Lift the hold of an environment")
def release(request: HttpRequest, slug: str, body: SwitchIn) -> dict[str, Any]:
    """What the switch held goes on, each its way; what a person holds stays held. 409 where it is not held."""
    resumed = lift(access_of(request), slug, body.reason, correlation_id=correlation_of(request))
    return {**_shown(access_of(request), slug), "resumed": resumed}


@router.get("/caps", response=CapsOut, summary="How many actions may run at once, and how many do")
def read_caps(request: HttpRequest) -> dict[str, Any]:
    """The caps that count actions where you may view. They are set in the admin."""
    access = access_of(request)
    if not access.environments_where("view") and not access.can("administer"):
        raise Forbidden("You may view no environment here.", remedies=["Ask a tenant admin for a role that may view."])
    return {
        "items": [
            {
                "environment": cap.environment.slug if cap.environment else None,
                "type": cap.type or None,
                "most": cap.most,
                "running": running,
            }
            for cap, running in caps_seen(access)
        ]
    }


def _shown(access: Access, slug: str) -> dict[str, Any]:
    state = state_of(find_place(access, slug))
    hold = state.hold
    return {
        "environment": slug,
        "held": hold is not None,
        "reason": hold.reason if hold else None,
        "since": hold.since if hold else None,
        "by": hold.set_by.username if hold else None,
        "holding": state.holding,
        "waiting": state.waiting,
    }
