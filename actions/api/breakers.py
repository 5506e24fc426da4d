"""Circuit breakers over HTTP: which are open, and closing one."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema

from actions import breakers as verbs
from actions.api.caller import access_of, correlation_of, id_of
from actions.api.schemas import ReasonIn
from actions.models import Breaker

router = Router(tags=["breakers"])


class BreakerOut(Schema):
    """One executor at one target. While it is open nothing begins there; half-open, one action is tried."""

    id: UUID
    type: str
    environment: str
    target: str = Field(..., description="Node, service and what the type names; empty: all of it there.")
    state: Literal["closed", "open", "half-open"]
    failures: int = Field(..., description="In a row.")
    code: str = Field(..., description="Of the last failure.")
    failed_at: datetime | None
    opened_at: datetime | None
    open_until: datetime | None
    probe: UUID | None = Field(..., description="The action that is let through to see whether the target is back.")


class BreakerPage(Schema):
    items: list[BreakerOut]
    next: None = None


@router.get("/breakers", response=BreakerPage, summary="Circuit breakers that count failures")
def breakers(request: HttpRequest) -> dict[str, Any]:
    """Where you may view; the open ones first, 100 at most. A breaker that is closed and counts nothing is left out."""
    return {"items": [shown(it) for it in verbs.seen(access_of(request))[: verbs.MOST]], "next": None}


@router.post("/breakers/{breaker_id}/reset", response=BreakerOut, summary="Close a circuit breaker")
def reset(request: HttpRequest, breaker_id: str, body: ReasonIn) -> dict[str, Any]:
    """As an operator of its environment: what waits behind it starts at once."""
    access, via = access_of(request), correlation_of(request)
    return shown(verbs.reset_breaker(access, id_of(breaker_id), body.reason, correlation_id=via))


def shown(breaker: Breaker) -> dict[str, Any]:
    names = ("id", "type", "target", "state", "failures", "code", "failed_at", "opened_at", "open_until")
    probe = breaker.probe_id
    return {**{name: getattr(breaker, name) for name in names}, "environment": breaker.environment.slug, "probe": probe}
