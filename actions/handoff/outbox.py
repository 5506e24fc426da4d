"""Messages about tickets, written down in the transaction of what they tell of; `sending` sends them."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from actions.handoff.payloads import TAKES, body_of, mail_of
from actions.models import Delivery, Ticket, Webhook
from tenants.models import Principal


def tell(said: Sequence[tuple[Ticket, str]], at: datetime) -> None:
    """Write what every webhook is to be sent of these (ticket, event) pairs. Two queries; what was written stays once.

    Each ticket's `action__environment__tenant` and `assignee` must be joined.
    """
    if not said:
        return
    hooks = list(Webhook.objects.filter(tenant__in={t.tenant_id for t, _ in said}, enabled=True))
    rows = [
        Delivery(
            ticket=ticket,
            what=what,
            at=at,
            channel="webhook",
            recipient=hook.pk,
            body=body_of(hook.kind, ticket, what, at),
            next_at=at,
        )
        for ticket, what in said
        for hook in hooks
        if hook.tenant_id == ticket.tenant_id
        and hook.environment_id in (None, ticket.environment_id)
        and what in TAKES[Webhook.Kind(hook.kind)]
    ]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)


def tell_people(ticket: Ticket, what: str, people: Iterable[Principal], at: datetime) -> None:
    """Write a mail to each of these who can get one."""
    able = {p.pk: p for p in people if p.is_active and p.is_person() and p.email}
    rows = [
        Delivery(ticket=ticket, what=what, at=at, channel="mail", recipient=pk, body=mail_of(ticket, what), next_at=at)
        for pk in able
    ]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)
