"""What people do with a ticket: assign, acknowledge, decline, resolve, talk, send again. Each leaves an event.

Locks are taken in one order by everybody: the action's row, then the ticket's.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from actions.errors import NotAllowed
from actions.handoff.errors import TicketMoved
from actions.handoff.outbox import tell, tell_people
from actions.handoff.rules import rules_of
from actions.lifecycle import Note, Write, write
from actions.models import Action, Delivery, Ticket
from actions.talk import comment_on
from approvals.models import Comment
from approvals.requests.comments import may_comment
from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from tenants.access import Access, visible_to, who_may
from tenants.models import Principal

S = Ticket.State
JOINED = ("action__environment__tenant", "action__requester__owner", "action__plan", "assignee__owner", "environment")
MOST_CANDIDATES = 200
MOST_TEXT = 4_000


def tickets_of(access: Access) -> QuerySet[Ticket]:
    """The tickets that the caller may look at."""
    return visible_to(Ticket.objects.select_related(*JOINED).defer("action__parameters", "action__result"), access)


def find_ticket(access: Access, ticket_id: UUID) -> Ticket:
    """A ticket that the caller may look at, with all that is shown of it. Raises NotFound."""
    found = tickets_of(access).filter(pk=ticket_id).first()
    if found is None:
        raise NotFound
    return found


def candidates(ticket: Ticket) -> list[Principal]:
    """The active people who may look at the ticket's environment, by name, 200 at most. Two queries."""
    in_tenant = Principal.objects.filter(groups__role__tenant=ticket.tenant_id, is_active=True, kind="person")
    people = list(in_tenant.distinct().order_by("display_name", "username")[:MOST_CANDIDATES])
    may = who_may("view", ticket.environment, [p.pk for p in people])
    return [p for p in people if p.pk in may]


def allowed(access: Access, ticket: Ticket) -> list[str]:
    """The verbs that the caller could use on this ticket now. No query."""
    talks = may_comment(access, ticket.environment_id)
    if ticket.state == S.RESOLVED:
        return ["comment"] if talks else []
    mine, person = ticket.assignee_id == access.principal.pk, access.is_person()
    operates = access.can("operate", ticket.environment_id)
    called = operates or any(access.role_in(role, ticket.environment_id) for role in ticket.facts.get("roles", []))
    tests = {
        "acknowledge": person and ticket.state == S.OPEN and (mine or (ticket.assignee_id is None and called)),
        "decline": person and mine,
        "assign": called,
        "resolve": person and (mine or operates),
        "comment": talks,
    }
    return [verb for verb, may in tests.items() if may]


def assign(access: Access, ticket_id: UUID, to: str, note: str = "", *, correlation_id: str = "") -> Ticket:
    """
    Hand a ticket to a person (a username or an id), who is told and is to acknowledge it in time.

    An operator of the environment may, and the roles that its rule calls; only somebody who may look at the environment
    gets it. Raises NotFound, NotAllowed, Invalid, Conflict.
    """
    seen = find_ticket(access, ticket_id)
    person = _person(seen, to)

    def change(ticket: Ticket, now: Any) -> dict[str, Any]:
        within = rules_of([ticket.environment])[ticket.environment_id].acknowledge_within_s
        return {
            "assignee": person,
            "assigned_at": now,
            "state": S.OPEN,
            "acknowledged_at": None,
            "escalated_at": None,
            "due_at": now + timedelta(seconds=within),
        }

    return _do(access, seen, "assign", "assigned", change, {"to": str(person.pk)}, {"note": note}, correlation_id)


def acknowledge(access: Access, ticket_id: UUID, note: str = "", *, correlation_id: str = "") -> Ticket:
    """Take a ticket in hand: its assignee; or, where nobody has it, an operator or a role that its rule calls."""
    seen = find_ticket(access, ticket_id)

    def change(ticket: Ticket, now: Any) -> dict[str, Any]:
        taken = {"assignee": access.principal, "assigned_at": now} if ticket.assignee_id is None else {}
        return {"state": S.ACKNOWLEDGED, "acknowledged_at": now, **taken}

    return _do(access, seen, "acknowledge", "acknowledged", change, {}, {"note": note}, correlation_id)


def decline(access: Access, ticket_id: UUID, reason: str, *, correlation_id: str = "") -> Ticket:
    """Give a ticket back: nobody has it then, and whoever a rule names is told at once. A reason is needed."""
    if not reason.strip():
        raise Invalid(issues=[_issue("Say why, so that the next person knows.", "reason")])
    seen = find_ticket(access, ticket_id)

    def change(ticket: Ticket, now: Any) -> dict[str, Any]:
        return {
            "assignee": None,
            "assigned_at": None,
            "state": S.OPEN,
            "acknowledged_at": None,
            "escalated_at": None,
            "due_at": now,
        }

    return _do(access, seen, "decline", "declined", change, {}, {"reason": reason}, correlation_id)


def resolve(access: Access, ticket_id: UUID, note: str = "", *, correlation_id: str = "") -> Ticket:
    """Close a ticket: its assignee, or an operator. What became of the action itself is not changed by that."""
    seen = find_ticket(access, ticket_id)

    def change(ticket: Ticket, now: Any) -> dict[str, Any]:
        return {"state": S.RESOLVED, "resolved_at": now}

    return _do(access, seen, "resolve", "resolved", change, {"because": "a person"}, {"note": note}, correlation_id)


def comment(access: Access, ticket_id: UUID, text: str, *, correlation_id: str = "") -> Comment:
    """Say something about it: a comment on the action, where everybody who works on it reads it."""
    return comment_on(access, find_ticket(access, ticket_id).action_id, text, correlation_id=correlation_id)


def send_again(access: Access, ticket_id: UUID, delivery_id: UUID, *, correlation_id: str = "") -> Delivery:
    """Have a message that was given up sent again, the same one. Only an operator. Raises NotFound, Conflict."""
    ticket = find_ticket(access, ticket_id)
    delivery = ticket.deliveries.filter(pk=delivery_id).first()
    if delivery is None:
        raise NotFound
    if not access.can("operate", ticket.environment_id):
        raise NotAllowed("Only an operator of the environment may have messages sent again.")
    with transaction.atomic():
        action = Action.objects.select_for_update().get(pk=ticket.action_id)
        again = {"state": Delivery.State.DUE, "attempts": 0, "next_at": database_time(), "claimed_until": None}
        if not ticket.deliveries.filter(pk=delivery_id, state=Delivery.State.FAILED).update(**again):
            raise Conflict("This message was not given up.", remedies=["Wait: it is sent, or will be tried again."])
        facts = {"ticket": str(ticket.pk), "delivery": str(delivery_id), **_via(correlation_id)}
        write([Write(action, by=str(access.principal.pk), notes=[Note("ticket.sent_again", facts)])])
    delivery.refresh_from_db()
    return delivery


Change = Callable[[Ticket, Any], dict[str, Any]]


def _do(
    access: Access,
    seen: Ticket,
    verb: str,
    what: str,
    change: Change,
    facts: dict[str, Any],
    private: dict[str, str],
    correlation_id: str,
) -> Ticket:
    """Change a ticket as far as the caller may, with its event and messages, in one transaction."""
    with transaction.atomic():
        action = Action.objects.select_for_update().get(pk=seen.action_id)
        ticket = Ticket.objects.select_for_update(of=("self",)).select_related(*JOINED).get(pk=seen.pk)
        _require(access, ticket, verb)
        now = database_time()
        before = ticket.assignee
        changed = change(ticket, now)
        for name, value in changed.items():
            setattr(ticket, name, value)
        guard = Ticket.objects.filter(pk=ticket.pk, state=seen.state, assignee=seen.assignee_id)
        if not guard.update(**changed):
            raise TicketMoved
        said = {name: text[:MOST_TEXT] for name, text in private.items() if text}
        note = Note(f"ticket.{what}", {"ticket": str(ticket.pk), **facts, **_via(correlation_id)}, said)
        write([Write(action, by=str(access.principal.pk), notes=[note])])
        tell([(ticket, what)], now)
        if what == "assigned" and ticket.assignee and ticket.assignee != access.principal and ticket.assignee != before:
            tell_people(ticket, what, [ticket.assignee], now)
    return find_ticket(access, seen.pk)


def _require(access: Access, ticket: Ticket, verb: str) -> None:
    if verb in allowed(access, ticket):
        return
    if ticket.state == S.RESOLVED:
        raise Conflict("This ticket is resolved.", remedies=["Comment on it, or propose what is still to be done."])
    if verb == "acknowledge" and ticket.state == S.ACKNOWLEDGED:
        raise Conflict("This ticket is acknowledged already.")
    whose = {"acknowledge": "whoever it is assigned to", "decline": "whoever it is assigned to"}
    entitled = whose.get(verb, "an operator of the environment" if verb == "assign" else "its assignee or an operator")
    raise NotAllowed(f"Only {entitled} may {verb} this ticket.", remedies=["Ask an operator to assign it to you."])


def _person(ticket: Ticket, to: str) -> Principal:
    """The person of that username or id, if the ticket may be theirs. Says the same of everybody else."""
    found = next((p for p in candidates(ticket) if to in (p.username, str(p.pk))), None)
    if found is None:
        message = "Name a person of this tenant who may look at this environment."
        raise Invalid(issues=[_issue(message, "assignee")])
    return found


def _via(correlation_id: str) -> dict[str, str]:
    return {"via": correlation_id} if correlation_id else {}


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}
