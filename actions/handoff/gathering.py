"""Gather what is known about an open ticket, attach it as evidence, and only then tell whose it is."""

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from actions.handoff.diagnostics import FORMAT, diagnostics_of
from actions.handoff.opening import BY
from actions.handoff.outbox import tell, tell_people
from actions.handoff.rules import people_in, rules_of
from actions.lifecycle import Note, Write, write
from actions.models import Action, HandoffRule, Ticket
from audit.database.clock import database_time
from audit.log.artifacts import pack_artifact
from audit.log.canonical_json import canonical

log = structlog.get_logger(__name__)
JOINED = ("action__environment__tenant", "action__requester__owner", "assignee")


def ungathered() -> QuerySet[Ticket]:
    return Ticket.objects.filter(gathered_at__isnull=True)


def gather_due(limit: int = 5) -> int:
    """Gather for up to `limit` tickets, oldest first; return how many. Two that gather for one keep one result."""
    tickets = list(ungathered().order_by("pk")[:limit])
    for ticket in tickets:
        _attach(ticket, _gathered(ticket))
    return len(tickets)


def _gathered(ticket: Ticket) -> bytes:
    try:
        return diagnostics_of(ticket)
    except Exception as error:  # a ticket without diagnostics is worth more than none
        log.exception("diagnostics_not_gathered", ticket=str(ticket.pk))
        problem = f"{type(error).__name__}: the log of the workers has the details."
        return canonical({"format": FORMAT, "ticket": {"id": str(ticket.pk)}, "problem": problem})


def _attach(ticket: Ticket, document: bytes) -> None:
    """Keep the document, its event and the messages in one transaction; nothing if somebody else already did."""
    pack = pack_artifact(ticket.tenant_id, document, "application/json")
    with transaction.atomic():
        action = Action.objects.select_for_update().get(pk=ticket.action_id)
        if not ungathered().filter(pk=ticket.pk).update(gathered_at=Now(), evidence=pack.digest):
            return
        known = Note("ticket.evidence", {"ticket": str(ticket.pk), "bytes": len(document)}, artifacts=(pack.digest,))
        write([Write(action, by=BY, notes=[known], packs=[pack])])
        now = Ticket.objects.select_related(*JOINED).get(pk=ticket.pk)
        if now.state != Ticket.State.RESOLVED:
            tell_opened(now)


def tell_opened(ticket: Ticket) -> None:
    """Tell the assignee, or a role's people where nobody has it, and every webhook. Inside a transaction."""
    at, place = database_time(), ticket.action.environment
    rule = rules_of([place])[place.pk]
    people = [ticket.assignee] if ticket.assignee else []
    if not people:
        role = rule.role if rule.to == HandoffRule.To.ROLE else rule.escalate_to
        people = people_in(role, place)
    tell_people(ticket, "opened", people, at)
    tell([(ticket, "opened")], at)
