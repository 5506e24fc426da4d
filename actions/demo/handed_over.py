"""The tickets of the demo's failed and held actions: one that somebody has taken in hand, one that is still open."""

from collections.abc import Callable

from actions.handoff import verbs
from actions.handoff.work import carry_on
from actions.models import Ticket
from tenants.access import Access

SAID = "Search was being redeployed. I ask again when that is through."


def hand_over(access: Callable[[str], Access], say: Callable[[str], None]) -> None:
    """Let the hand-off have its turn; then the operator acknowledges what failed. Doing it again changes nothing."""
    carry_on(slice_s=60)
    operator = access("operator")
    for ticket in verbs.tickets_of(operator).filter(state="open", ending="failed", assignee=operator.principal):
        verbs.acknowledge(operator, ticket.pk, "Looking at it.")
        verbs.comment(operator, ticket.pk, SAID)
        say(f"{'acknowledged':>17}  {ticket.summary}")
    for ticket in Ticket.objects.filter(state="open").order_by("pk"):
        say(f"{'handed over':>17}  {ticket.summary}")
