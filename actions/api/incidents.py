"""Incidents: list, read, and the commands on them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema, Status
from pydantic import field_validator

from actions.api.commands import CommentOut, serialize_comment
from actions.api.request_context import parse_id, refuse_unknown_filters
from actions.api.schemas import PrincipalOut, RequestBody
from actions.commands import incidents as incident_commands
from actions.models import Incident
from actions.queries import incidents
from actions.queries.action_detail import serialize_principal
from actions.queries.incidents import IncidentFilter
from audit.errors import NotFound
from audit.web import correlation_of
from tenants.access import Access, access_of

router = Router(tags=["incidents"])
MAX_TEXT = 4_000


class IncidentFilters(Schema):
    """The filters of the list; all of them must hold."""

    tab: Literal["mine", "open", "all"] = Field("open", description="Yours, everybody's that are open, or all.")
    environment: str = Field("", max_length=80, description="A slug.")
    severity: Literal["", "low", "medium", "high", "critical"] = ""
    ending: str = Field("", max_length=32, description="How the action ended, or why it is held.")
    after: UUID | None = Field(None, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=100)

    @field_validator("environment", "ending")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\x00" in value:
            raise ValueError("NUL characters are not accepted.")
        return value


class AssignIn(RequestBody):
    assignee: str = Field(..., min_length=1, max_length=150, description="A username or an id.")
    note: str = Field("", max_length=MAX_TEXT)


class NoteIn(RequestBody):
    note: str = Field("", max_length=MAX_TEXT)


class DeclineIn(RequestBody):
    reason: str = Field(..., min_length=1, max_length=MAX_TEXT)


class IncidentCommentIn(RequestBody):
    text: str = Field(..., min_length=1, max_length=MAX_TEXT)


class IncidentRow(Schema):
    id: UUID
    action: UUID
    title: str = Field(..., description="The action's.")
    environment: str
    ending: str
    code: str | None
    severity: Literal["low", "medium", "high", "critical"]
    state: Literal["open", "acknowledged", "resolved"]
    summary: str
    assignee: str | None = Field(..., description="A username.")
    opened_at: datetime
    assigned_at: datetime | None
    due_at: datetime | None = Field(..., description="The deadline to acknowledge it.")
    escalated_at: datetime | None = Field(..., description="When it was escalated because nobody acknowledged it.")
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    links: dict[str, str]


class NextStepOut(Schema):
    key: str
    title: str
    why: str
    verb: str | None = Field(..., description="One of the action's verbs; null: a page, or a talk.")
    href: str | None
    usable: bool = Field(..., description="Whether you may do it now.")


class DeliveryOut(Schema):
    id: UUID
    what: str
    channel: Literal["mail", "webhook"]
    to: str
    state: Literal["due", "sent", "failed", "moot"]
    attempts: int
    error: str | None
    next_at: datetime | None
    sent_at: datetime | None


class IncidentOut(IncidentRow):
    action_state: str
    facts: dict[str, Any] = Field(..., description="step, remains, checks, standing: what the next steps rest on.")
    next_steps: list[NextStepOut]
    evidence: str | None = Field(..., description="The SHA-256 of the diagnostics; null until they are gathered.")
    assigned_to: PrincipalOut | None
    deliveries: list[DeliveryOut]
    allowed: list[str] = Field(..., description="The verbs that you could use on this incident now.")


class IncidentPage(Schema):
    items: list[IncidentRow]
    next: str | None = Field(..., description="Send it as `after` to get what follows; null at the end.")


RETURNS_INCIDENT = {200: IncidentOut}


@router.get("/incidents", response=IncidentPage, summary="List incidents")
def list_incidents(request: HttpRequest, asked: Query[IncidentFilters]) -> dict[str, Any]:
    """Newest first."""
    refuse_unknown_filters(request, IncidentFilters)
    wanted = IncidentFilter(asked.tab, asked.environment, asked.severity, asked.ending)
    rows, cursor = incidents.incident_page(access_of(request), wanted, asked.after, asked.limit)
    return {"items": [serialize_incident_row(t) for t in rows], "next": cursor or None}


@router.get("/incidents/{incident_id}", response=IncidentOut, summary="An incident")
def read_incident(request: HttpRequest, incident_id: str) -> dict[str, Any]:
    """With what to do next and who was told."""
    access = access_of(request)
    return serialize_incident(access, incident_commands.find_incident(access, parse_id(incident_id)))


@router.get(
    "/incidents/{incident_id}/diagnostics",
    summary="What was known when it failed",
    openapi_extra={"responses": {200: {"description": "OK", "content": {"application/json": {"schema": {}}}}}},
)
def read_diagnostics(request: HttpRequest, incident_id: str) -> HttpResponse:
    """The document whose SHA-256 is the incident's `evidence`. 404 while it is being gathered."""
    found = incidents.read_diagnostics(incident_commands.find_incident(access_of(request), parse_id(incident_id)))
    if not found:
        raise NotFound("The diagnostics are still being gathered. Look again in a moment.")
    return HttpResponse(found, content_type="application/json")


@router.post("/incidents/{incident_id}/assign", response=RETURNS_INCIDENT, summary="Hand it to somebody")
def assign_incident(request: HttpRequest, incident_id: str, body: AssignIn) -> dict[str, Any]:
    """They are told, and have to acknowledge it. Operators of the environment may."""
    access = access_of(request)
    return serialize_incident(
        access,
        incident_commands.assign(access, parse_id(incident_id), body.assignee, body.note, **_correlation(request)),
    )


@router.post("/incidents/{incident_id}/acknowledge", response=RETURNS_INCIDENT, summary="Take it in hand")
def acknowledge_incident(request: HttpRequest, incident_id: str, body: NoteIn) -> dict[str, Any]:
    """Its assignee; or an operator where nobody has it."""
    access = access_of(request)
    return serialize_incident(
        access, incident_commands.acknowledge(access, parse_id(incident_id), body.note, **_correlation(request))
    )


@router.post("/incidents/{incident_id}/decline", response=RETURNS_INCIDENT, summary="Give it back")
def decline_incident(request: HttpRequest, incident_id: str, body: DeclineIn) -> dict[str, Any]:
    """Nobody has it then, and the role that looks after that is told at once."""
    access = access_of(request)
    return serialize_incident(
        access, incident_commands.decline(access, parse_id(incident_id), body.reason, **_correlation(request))
    )


@router.post("/incidents/{incident_id}/resolve", response=RETURNS_INCIDENT, summary="Resolve it")
def resolve_incident(request: HttpRequest, incident_id: str, body: NoteIn) -> dict[str, Any]:
    """Its assignee or an operator. The action itself stays as it is."""
    access = access_of(request)
    return serialize_incident(
        access, incident_commands.resolve(access, parse_id(incident_id), body.note, **_correlation(request))
    )


@router.post("/incidents/{incident_id}/comment", response={201: CommentOut}, summary="Comment on it")
def comment_on_incident(request: HttpRequest, incident_id: str, body: IncidentCommentIn) -> Status[Any]:
    """A comment on the action, where everybody who works on it reads it."""
    made = incident_commands.comment(access_of(request), parse_id(incident_id), body.text, **_correlation(request))
    return Status(201, serialize_comment(made))


@router.post(
    "/incidents/{incident_id}/deliveries/{delivery_id}/send", response=RETURNS_INCIDENT, summary="Send a message again"
)
def resend_delivery(request: HttpRequest, incident_id: str, delivery_id: str) -> dict[str, Any]:
    """One that was given up; the same message, under the same id. Operators of the environment may."""
    access = access_of(request)
    incident_commands.send_again(access, parse_id(incident_id), parse_id(delivery_id), **_correlation(request))
    return serialize_incident(access, incident_commands.find_incident(access, parse_id(incident_id)))


def serialize_incident_row(incident: Incident) -> dict[str, Any]:
    """An incident in a list; `action`, `environment` and `assignee` must be joined."""
    same = (
        "id",
        "ending",
        "severity",
        "state",
        "summary",
        "opened_at",
        "assigned_at",
        "due_at",
        "escalated_at",
        "acknowledged_at",
        "resolved_at",
    )
    here = f"/api/incidents/{incident.pk}"
    return {
        **{name: getattr(incident, name) for name in same},
        "action": incident.action_id,
        "title": incident.action.title,
        "environment": incident.environment.slug,
        "code": incident.code or None,
        "assignee": incident.assignee.username if incident.assignee else None,
        "links": {
            "self": here,
            "page": f"/incidents/{incident.pk}/",
            "diagnostics": f"{here}/diagnostics",
            "action": f"/api/actions/{incident.action_id}",
            "evidence": f"/api/actions/{incident.action_id}/evidence",
        },
    }


def serialize_incident(access: Access, incident: Incident) -> dict[str, Any]:
    """An incident with everything about it; as `verbs.find_incident` returns it. Eight queries at most."""
    assignee = incident.assignee
    return {
        **serialize_incident_row(incident),
        "action_state": str(incident.action.state),
        "facts": incident.facts,
        "next_steps": [
            {
                "key": s.key,
                "title": s.title,
                "why": s.why,
                "verb": s.verb or None,
                "href": s.href or None,
                "usable": s.usable,
            }
            for s in incidents.steps_for(access, incident)
        ],
        "evidence": incident.evidence or None,
        "assigned_to": serialize_principal(assignee) if assignee else None,
        "deliveries": [_serialize_delivery(found) for found in incidents.deliveries(incident)],
        "allowed": incident_commands.allowed_incident_verbs(access, incident),
    }


def _serialize_delivery(found: dict[str, Any]) -> dict[str, Any]:
    delivery = found["delivery"]
    same = ("id", "what", "channel", "state", "attempts", "sent_at")
    waits = delivery.state == "due"
    return {
        **{name: getattr(delivery, name) for name in same},
        "to": found["to"],
        "error": delivery.error or None,
        "next_at": delivery.next_at if waits else None,
    }


def _correlation(request: HttpRequest) -> dict[str, str]:
    return {"correlation_id": correlation_of(request)}
