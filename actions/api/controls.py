"""Controls: freezes, concurrency limits, circuit breakers, quarantines."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from actions.api.request_context import parse_id, refuse_unknown_filters
from actions.api.schemas import PrincipalOut, ReasonIn, RequestBody
from actions.commands.freeze import find_environment, freeze, unfreeze
from actions.controls import circuit_breaker
from actions.controls.freeze import environment_status, visible_limits
from actions.controls.quarantine import put_in_quarantine, visible_quarantines
from actions.models import CircuitBreaker, Quarantine
from actions.queries.action_detail import serialize_principal
from audit.errors import Forbidden
from audit.web import correlation_of
from tenants.access import Access, access_of

environments_router = Router(tags=["environments"])


class FreezeIn(RequestBody):
    reason: str = Field(..., description="Why; kept with the event.", json_schema_extra={"maxLength": 2000})


class FreezeOut(Schema):
    environment: str
    held: bool
    reason: str | None
    since: datetime | None
    by: str | None
    holding: int = Field(..., description="How many actions it holds now; 100 stands for more than 99.")
    waiting: int = Field(..., description="How many approved actions wait there; 100 stands for more than 99.")


class UnfreezeOut(FreezeOut):
    resumed: int = Field(..., description="How many went on at once; others follow as caps let them.")


class ConcurrencyLimitOut(Schema):
    environment: str | None = Field(..., description="Null: all environments together.")
    type: str | None = Field(..., description="Null: all types together.")
    most: int
    running: int


class ConcurrencyLimitsOut(Schema):
    items: list[ConcurrencyLimitOut]


@environments_router.get("/environments/{slug}/freeze", response=FreezeOut, summary="Whether an environment is held")
def read_freeze(request: HttpRequest, slug: str) -> dict[str, Any]:
    """The operator's switch: while it is set nothing starts there, and what runs is held at its next checkpoint."""
    return _serialize_freeze(access_of(request), slug)


@environments_router.post("/environments/{slug}/freeze", response=FreezeOut, summary="Hold an environment")
def freeze_environment(request: HttpRequest, slug: str, body: FreezeIn) -> dict[str, Any]:
    """For who operates or administers it. 409 where it is held already."""
    freeze(access_of(request), slug, body.reason, correlation_id=correlation_of(request))
    return _serialize_freeze(access_of(request), slug)


@environments_router.post(
    "/environments/{slug}/unfreeze", response=UnfreezeOut, summary="Lift the hold of an environment"
)
def unfreeze_environment(request: HttpRequest, slug: str, body: FreezeIn) -> dict[str, Any]:
    """What the switch held goes on, each its way; what a person holds stays held. 409 where it is not held."""
    resumed = unfreeze(access_of(request), slug, body.reason, correlation_id=correlation_of(request))
    return {**_serialize_freeze(access_of(request), slug), "resumed": resumed}


@environments_router.get(
    "/concurrency-limits", response=ConcurrencyLimitsOut, summary="How many actions may run at once, and how many do"
)
def list_concurrency_limits(request: HttpRequest) -> dict[str, Any]:
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
            for cap, running in visible_limits(access)
        ]
    }


def _serialize_freeze(access: Access, slug: str) -> dict[str, Any]:
    state = environment_status(find_environment(access, slug))
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


# Circuit breakers: list, and reset one.


breakers_router = Router(tags=["breakers"])


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


@breakers_router.get("/breakers", response=BreakerPage, summary="Circuit breakers that count failures")
def list_breakers(request: HttpRequest) -> dict[str, Any]:
    """Where you may view; the open ones first, 100 at most. A breaker that is closed and counts nothing is left out."""
    return {
        "items": [
            serialize_breaker(it)
            for it in circuit_breaker.visible_breakers(access_of(request))[: circuit_breaker.MAX_BREAKERS]
        ],
        "next": None,
    }


@breakers_router.post("/breakers/{breaker_id}/reset", response=BreakerOut, summary="Close a circuit breaker")
def reset_breaker_route(request: HttpRequest, breaker_id: str, body: ReasonIn) -> dict[str, Any]:
    """As an operator of its environment: what waits behind it starts at once."""
    access, via = access_of(request), correlation_of(request)
    return serialize_breaker(
        circuit_breaker.reset_breaker(access, parse_id(breaker_id), body.reason, correlation_id=via)
    )


def serialize_breaker(breaker: CircuitBreaker) -> dict[str, Any]:
    names = ("id", "type", "target", "state", "failures", "code", "failed_at", "opened_at", "open_until")
    probe = breaker.probe_id
    return {**{name: getattr(breaker, name) for name in names}, "environment": breaker.environment.slug, "probe": probe}


# Quarantines: list, and set one. Clearing one is an action.


quarantines_router = Router(tags=["quarantines"])


class QuarantineFilters(Schema):
    environment: str = Field("", max_length=63, description="Of this one only; otherwise of all that you may view.")
    standing: Literal["in_force", "cleared", "any"] = "in_force"
    after: UUID | None = Field(None, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=200)


class QuarantineIn(RequestBody):
    environment: str = Field("", max_length=63, description="A slug.")
    kind: str = Field("", max_length=64, description="As plans have it: file, service, deployment …")
    name: str = Field("", max_length=1_000, description="As plans have it, without its environment.")
    reason: str = Field("", max_length=4_000, description="Why: whoever clears it reads it.")


class QuarantineOut(Schema):
    id: UUID
    environment: str
    kind: str
    name: str
    because: Literal["undo_failed", "in_doubt", "operator"]
    reason: str
    since: datetime
    action: UUID | None = Field(..., description="That left it so.")
    by: PrincipalOut | None = Field(..., description="Who put it there by hand.")
    cleared_at: datetime | None
    cleared_by: UUID | None = Field(..., description="The approved action that cleared it.")
    links: dict[str, str]


class QuarantinePage(Schema):
    items: list[QuarantineOut]
    next: UUID | None


@quarantines_router.get("/quarantines", response=QuarantinePage, summary="What is in quarantine")
def list_quarantines(request: HttpRequest, asked: Query[QuarantineFilters]) -> dict[str, Any]:
    """Resources that nothing may touch, the newest first; `standing=cleared` are those of the past."""
    refuse_unknown_filters(request, QuarantineFilters)
    found = visible_quarantines(access_of(request))
    if asked.environment:
        found = found.filter(environment__slug=asked.environment)
    if asked.standing != "any":
        found = found.filter(cleared_at__isnull=asked.standing == "in_force")
    if asked.after:
        found = found.filter(pk__lt=asked.after)
    page = list(found[: asked.limit + 1])
    following = page[asked.limit - 1].pk if len(page) > asked.limit else None
    return {"items": [serialize_quarantine(q) for q in page[: asked.limit]], "next": following}


@quarantines_router.post("/quarantines", response={201: QuarantineOut}, summary="Put something in quarantine")
def set_quarantine(request: HttpRequest, body: QuarantineIn) -> Status[Any]:
    """Nothing touches the resource from now on. It ends only by an approved action of the type `clear_quarantine`."""
    made = put_in_quarantine(
        access_of(request),
        body.environment,
        body.kind,
        body.name,
        body.reason,
        correlation_id=correlation_of(request),
    )
    return Status(201, serialize_quarantine(made))


def serialize_quarantine(q: Quarantine) -> dict[str, Any]:
    links = {"clear": f"/quarantine/{q.pk}/clear/"} if q.cleared_at is None else {}
    if q.action_id:
        links["action"] = f"/api/actions/{q.action_id}"
    if q.cleared_by_action_id:
        links["cleared_by"] = f"/api/actions/{q.cleared_by_action_id}"
    return {
        "id": q.pk,
        "environment": q.environment.slug,
        "kind": q.kind,
        "name": q.name,
        "because": q.because,
        "reason": q.reason,
        "since": q.since,
        "action": q.action_id,
        "by": serialize_principal(q.by) if q.by else None,
        "cleared_at": q.cleared_at,
        "cleared_by": q.cleared_by_action_id,
        "links": links,
    }
