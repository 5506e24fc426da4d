"""Quarantines over HTTP: what nothing may touch, and putting something there. Clearing one is an action."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from actions.api.caller import access_of, correlation_of, refuse_unknown
from actions.api.reads import who
from actions.api.schemas import Body, Who
from actions.models import Quarantine
from actions.quarantine_keeper import put_in_quarantine, visible

router = Router(tags=["quarantines"])


class QuarantineAsked(Schema):
    environment: str = Field("", max_length=63, description="Of this one only; otherwise of all that you may view.")
    standing: Literal["in_force", "cleared", "any"] = "in_force"
    after: UUID | None = Field(None, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=200)


class QuarantineIn(Body):
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
    by: Who | None = Field(..., description="Who put it there by hand.")
    cleared_at: datetime | None
    cleared_by: UUID | None = Field(..., description="The approved action that cleared it.")
    links: dict[str, str]


class QuarantinePage(Schema):
    items: list[QuarantineOut]
    next: UUID | None


@router.get("/quarantines", response=QuarantinePage, summary="What is in quarantine")
def quarantines(request: HttpRequest, asked: Query[QuarantineAsked]) -> dict[str, Any]:
    """Resources that nothing may touch, the newest first; `standing=cleared` are those of the past."""
    refuse_unknown(request, QuarantineAsked)
    found = visible(access_of(request))
    if asked.environment:
        found = found.filter(environment__slug=asked.environment)
    if asked.standing != "any":
        found = found.filter(cleared_at__isnull=asked.standing == "in_force")
    if asked.after:
        found = found.filter(pk__lt=asked.after)
    page = list(found[: asked.limit + 1])
    following = page[asked.limit - 1].pk if len(page) > asked.limit else None
    return {"items": [quarantine_shown(q) for q in page[: asked.limit]], "next": following}


@router.post("/quarantines", response={201: QuarantineOut}, summary="Put something in quarantine")
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
    return Status(201, quarantine_shown(made))


def quarantine_shown(q: Quarantine) -> dict[str, Any]:
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
        "by": who(q.by) if q.by else None,
        "cleared_at": q.cleared_at,
        "cleared_by": q.cleared_by_action_id,
        "links": links,
    }
