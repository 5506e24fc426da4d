"""Tickets over HTTP: the twin of the pages at /handoff/."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema, Status
from pydantic import field_validator

from actions.api.caller import access_of, correlation_of, id_of, refuse_unknown
from actions.api.reads import who
from actions.api.schemas import Body, Who
from actions.api.talk import CommentOut
from actions.api.talk import shown as comment_shown
from actions.handoff import reading, verbs
from actions.handoff.reading import Wanted
from actions.models import Ticket
from audit.errors import NotFound
from tenants.access import Access

router = Router(tags=["tickets"])
MOST = 4_000


class TicketsAsked(Schema):
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


class AssignIn(Body):
    assignee: str = Field(..., min_length=1, max_length=150, description="A username or an id.")
    note: str = Field("", max_length=MOST)


class NoteIn(Body):
    note: str = Field("", max_length=MOST)


class DeclineIn(Body):
    reason: str = Field(..., min_length=1, max_length=MOST)


class TicketCommentIn(Body):
    text: str = Field(..., min_length=1, max_length=MOST)


class TicketRow(Schema):
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
    due_at: datetime | None = Field(..., description="By when it is to be acknowledged.")
    escalated_at: datetime | None = Field(..., description="When it was told on, because nobody had.")
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


class TicketOut(TicketRow):
    action_state: str
    facts: dict[str, Any] = Field(..., description="step, remains, checks, standing: what the next steps rest on.")
    next_steps: list[NextStepOut]
    evidence: str | None = Field(..., description="The SHA-256 of the diagnostics; null until they are gathered.")
    assigned_to: Who | None
    deliveries: list[DeliveryOut]
    allowed: list[str] = Field(..., description="The verbs that you could use on this ticket now.")


class TicketPage(Schema):
    items: list[TicketRow]
    next: str | None = Field(..., description="Send it as `after` to get what follows; null at the end.")


DONE = {200: TicketOut}


@router.get("/tickets", response=TicketPage, summary="What was handed over")
def tickets(request: HttpRequest, asked: Query[TicketsAsked]) -> dict[str, Any]:
    """Newest first."""
    refuse_unknown(request, TicketsAsked)
    wanted = Wanted(asked.tab, asked.environment, asked.severity, asked.ending)
    rows, cursor = reading.page_of(access_of(request), wanted, asked.after, asked.limit)
    return {"items": [row(t) for t in rows], "next": cursor or None}


@router.get("/tickets/{ticket_id}", response=TicketOut, summary="A ticket")
def ticket(request: HttpRequest, ticket_id: str) -> dict[str, Any]:
    """With what to do next and who was told."""
    access = access_of(request)
    return one(access, verbs.find_ticket(access, id_of(ticket_id)))


@router.get(
    "/tickets/{ticket_id}/diagnostics",
    summary="What was known when it failed",
    openapi_extra={"responses": {200: {"description": "OK", "content": {"application/json": {"schema": {}}}}}},
)
def diagnostics(request: HttpRequest, ticket_id: str) -> HttpResponse:
    """The document whose SHA-256 is the ticket's `evidence`. 404 while it is being gathered."""
    found = reading.diagnostics(verbs.find_ticket(access_of(request), id_of(ticket_id)))
    if not found:
        raise NotFound("The diagnostics are still being gathered. Look again in a moment.")
    return HttpResponse(found, content_type="application/json")


@router.post("/tickets/{ticket_id}/assign", response=DONE, summary="Hand it to somebody")
def assign(request: HttpRequest, ticket_id: str, body: AssignIn) -> dict[str, Any]:
    """They are told, and have to acknowledge it. Operators of the environment may."""
    access = access_of(request)
    return one(access, verbs.assign(access, id_of(ticket_id), body.assignee, body.note, **_via(request)))


@router.post("/tickets/{ticket_id}/acknowledge", response=DONE, summary="Take it in hand")
def acknowledge(request: HttpRequest, ticket_id: str, body: NoteIn) -> dict[str, Any]:
    """Its assignee; or an operator where nobody has it."""
    access = access_of(request)
    return one(access, verbs.acknowledge(access, id_of(ticket_id), body.note, **_via(request)))


@router.post("/tickets/{ticket_id}/decline", response=DONE, summary="Give it back")
def decline(request: HttpRequest, ticket_id: str, body: DeclineIn) -> dict[str, Any]:
    """Nobody has it then, and the role that looks after that is told at once."""
    access = access_of(request)
    return one(access, verbs.decline(access, id_of(ticket_id), body.reason, **_via(request)))


@router.post("/tickets/{ticket_id}/resolve", response=DONE, summary="Resolve it")
def resolve(request: HttpRequest, ticket_id: str, body: NoteIn) -> dict[str, Any]:
    """Its assignee or an operator. The action itself stays as it is."""
    access = access_of(request)
    return one(access, verbs.resolve(access, id_of(ticket_id), body.note, **_via(request)))


@router.post("/tickets/{ticket_id}/comment", response={201: CommentOut}, summary="Comment on it")
def comment(request: HttpRequest, ticket_id: str, body: TicketCommentIn) -> Status[Any]:
    """A comment on the action, where everybody who works on it reads it."""
    made = verbs.comment(access_of(request), id_of(ticket_id), body.text, **_via(request))
    return Status(201, comment_shown(made))


@router.post("/tickets/{ticket_id}/deliveries/{delivery_id}/send", response=DONE, summary="Send a message again")
def send_again(request: HttpRequest, ticket_id: str, delivery_id: str) -> dict[str, Any]:
    """One that was given up; the same message, under the same id. Operators of the environment may."""
    access = access_of(request)
    verbs.send_again(access, id_of(ticket_id), id_of(delivery_id), **_via(request))
    return one(access, verbs.find_ticket(access, id_of(ticket_id)))


def row(ticket: Ticket) -> dict[str, Any]:
    """A ticket in a list; `action`, `environment` and `assignee` must be joined."""
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
    here = f"/api/tickets/{ticket.pk}"
    return {
        **{name: getattr(ticket, name) for name in same},
        "action": ticket.action_id,
        "title": ticket.action.title,
        "environment": ticket.environment.slug,
        "code": ticket.code or None,
        "assignee": ticket.assignee.username if ticket.assignee else None,
        "links": {
            "self": here,
            "page": f"/handoff/{ticket.pk}/",
            "diagnostics": f"{here}/diagnostics",
            "action": f"/api/actions/{ticket.action_id}",
            "evidence": f"/api/actions/{ticket.action_id}/evidence",
        },
    }


def one(access: Access, ticket: Ticket) -> dict[str, Any]:
    """A ticket with everything about it; as `verbs.find_ticket` returns it. Eight queries at most."""
    assignee = ticket.assignee
    return {
        **row(ticket),
        "action_state": str(ticket.action.state),
        "facts": ticket.facts,
        "next_steps": [
            {
                "key": s.key,
                "title": s.title,
                "why": s.why,
                "verb": s.verb or None,
                "href": s.href or None,
                "usable": s.usable,
            }
            for s in reading.steps_for(access, ticket)
        ],
        "evidence": ticket.evidence or None,
        "assigned_to": who(assignee) if assignee else None,
        "deliveries": [_delivery(found) for found in reading.deliveries(ticket)],
        "allowed": verbs.allowed(access, ticket),
    }


def _delivery(found: dict[str, Any]) -> dict[str, Any]:
    delivery = found["delivery"]
    same = ("id", "what", "channel", "state", "attempts", "sent_at")
    waits = delivery.state == "due"
    return {
        **{name: getattr(delivery, name) for name in same},
        "to": found["to"],
        "error": delivery.error or None,
        "next_at": delivery.next_at if waits else None,
    }


def _via(request: HttpRequest) -> dict[str, str]:
    return {"correlation_id": correlation_of(request)}
