"""Tickets that nobody acknowledged in time are told on, once."""

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from actions.handoff.gathering import JOINED
from actions.handoff.outbox import tell, tell_people
from actions.handoff.rules import people_in, rules_of
from actions.lifecycle import Note, Write, write
from actions.models import Action, Ticket
from audit.database.clock import database_time

BY = "system:handoff"


def overdue() -> QuerySet[Ticket]:
    return Ticket.objects.filter(state="open", escalated_at__isnull=True, due_at__lte=database_time())


def escalate_overdue(limit: int = 20) -> int:
    """Tell the role that a rule names, and the webhooks, of tickets whose time is up; return how many."""
    ids = list(overdue().order_by("due_at").values_list("pk", flat=True)[:limit])
    return sum(_escalate(pk) for pk in ids)


def _escalate(pk: UUID) -> int:
    """One transaction for one ticket: its mark, its event and its messages. 0 if somebody else was there first."""
    with transaction.atomic():
        ticket = Ticket.objects.select_related(*JOINED).get(pk=pk)
        action = Action.objects.select_for_update().get(pk=ticket.action_id)
        now = database_time()
        if not overdue().filter(pk=ticket.pk).update(escalated_at=now):
            return 0
        place = ticket.action.environment
        rule = rules_of([place])[place.pk]
        ticket.escalated_at = now
        told = people_in(rule.escalate_to, place)
        facts = {"ticket": str(ticket.pk), "role": rule.escalate_to, "people": len(told)}
        write([Write(action, by=BY, notes=[Note("ticket.overdue", facts)])])
        tell_people(ticket, "overdue", told, now)
        tell([(ticket, "overdue")], now)
    return 1
