"""One slice of incident work: open, resolve, collect, escalate, send."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from actions.incidents.delivery import due_deliveries, enqueue_mails, enqueue_webhooks, send_due
from actions.incidents.diagnostics import JOINED, attach_due, without_diagnostics
from actions.incidents.open import (
    has_finished,
    open_due,
    people_with_role,
    resolve_finished,
    rules_of,
    unanswered_actions,
)
from actions.lifecycle.commit import commit
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action, Incident
from audit.database.clock import database_time

SLICE_S = 10.0


def run_slice(slice_s: float = SLICE_S, still: Callable[[], Any] = lambda: None) -> None:
    """
    Open, resolve, collect, escalate and send until nothing waits or the slice is over, calling `still` in between.
    """
    until = time.monotonic() + slice_s
    while open_due() + resolve_finished() + attach_due() + escalate_overdue() + send_due():
        still()
        if time.monotonic() >= until:
            return


def has_work() -> bool:
    """Whether any incident work waits. Five queries at most, each by an index."""
    return (
        any(rows.exists() for rows in (unanswered_actions(), without_diagnostics(), due_deliveries(), overdue()))
        or has_finished()
    )


# Escalate incidents that were not acknowledged in time, once.


ACTOR = "system:incidents"


def overdue() -> QuerySet[Incident]:
    return Incident.objects.filter(state="open", escalated_at__isnull=True, due_at__lte=database_time())


def escalate_overdue(limit: int = 20) -> int:
    """Escalate overdue incidents to the role of their rule and to webhooks; return how many."""
    ids = list(overdue().order_by("due_at").values_list("pk", flat=True)[:limit])
    return sum(_escalate(pk) for pk in ids)


def _escalate(pk: UUID) -> int:
    """Escalate one incident in one transaction: its time, event and messages. 0 if another worker did."""
    with transaction.atomic():
        incident = Incident.objects.select_related(*JOINED).get(pk=pk)
        action = Action.objects.select_for_update().get(pk=incident.action_id)
        now = database_time()
        if not overdue().filter(pk=incident.pk).update(escalated_at=now):
            return 0
        place = incident.action.environment
        rule = rules_of([place])[place.pk]
        incident.escalated_at = now
        told = people_with_role(rule.escalate_to, place)
        facts = {"incident": str(incident.pk), "role": rule.escalate_to, "people": len(told)}
        commit([Transition(action, by=ACTOR, notes=[Note("incident.escalated", facts)])])
        enqueue_mails(incident, "overdue", told, now)
        enqueue_webhooks([(incident, "overdue")], now)
    return 1
