"""Tickets as pages and API show them: lists by keyset, and one with everything about it."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from actions.handoff.next_steps import NextStep, next_steps
from actions.models import Action, Delivery, Quarantine, Ticket, Webhook
from actions.models.handoff import ENDINGS, SEVERITIES
from actions.verbs import allowed as action_verbs
from approvals.models import Comment
from audit.errors import NotFound
from audit.log.artifacts import ArtifactMissing, read_artifact
from tenants.access import Access, visible_to
from tenants.models import Principal

TABS = {"mine": "Yours", "open": "Open", "all": "All"}
UNRESOLVED = ~Q(state="resolved")
MOST_DELIVERIES, MOST_COMMENTS, MOST_NAMED = 50, 100, 20
LIGHT = (
    "tenant_id",
    "environment_id",
    "action_id",
    "ending",
    "code",
    "severity",
    "summary",
    "state",
    "assignee_id",
    "due_at",
    "escalated_at",
    "opened_at",
    "acknowledged_at",
    "resolved_at",
    "assigned_at",
    "evidence",
    "gathered_at",
)


@dataclass(frozen=True)
class Wanted:
    """The filters of a list; empty asks for nothing. `tab` is a key of TABS."""

    tab: str = "mine"
    environment: str = ""
    severity: str = ""
    ending: str = ""

    def condition(self, access: Access) -> Q:
        found = Q() if self.tab == "all" else UNRESOLVED
        if self.tab == "mine":
            found &= Q(assignee=access.principal.pk)
        exact = {"environment__slug": self.environment, "severity": self.severity, "ending": self.ending}
        return found & Q(**{name: value for name, value in exact.items() if value})


CHOICES = {"severity": SEVERITIES, "ending": ENDINGS}


def rows_of(access: Access) -> QuerySet[Ticket]:
    """The tickets that the caller may look at, light, joined for a list."""
    joined = Ticket.objects.select_related("environment", "assignee", "action").only(
        "id",
        *(name.removesuffix("_id") for name in LIGHT),
        "environment__slug",
        "environment__name",
        "environment__risk_class",
        "assignee__username",
        "assignee__display_name",
        "assignee__kind",
        "action__title",
        "action__state",
        "action__held_reason",
        "action__type",
    )
    return visible_to(joined, access)


def page_of(access: Access, wanted: Wanted, after: UUID | None = None, limit: int = 25) -> tuple[list[Ticket], str]:
    """One page, newest first, and what to ask for the next one after; empty at the end. One query."""
    found = rows_of(access).filter(wanted.condition(access))
    found = found.filter(pk__lt=after) if after else found
    tickets = list(found.order_by("-pk")[: limit + 1])
    return tickets[:limit], str(tickets[limit - 1].pk) if len(tickets) > limit else ""


def waiting_for(access: Access) -> QuerySet[Ticket]:
    """What the number beside the hand-off counts: tickets that the reader has not acknowledged."""
    return visible_to(Ticket.objects.filter(UNRESOLVED, assignee=access.principal.pk, state="open"), access)


def ticket_of(action: Action) -> Ticket | None:
    """The newest ticket of an action: what stands on the action's own pages. One query where there may be one."""
    if action.state not in ("failed", "held", "rolled_back"):
        return None
    found = Ticket.objects.filter(action=action.pk).select_related("assignee").order_by("-id").first()
    if found is not None:
        found.action = action
    return found


def steps_for(access: Access, ticket: Ticket) -> list[NextStep]:
    """What to do next, each with whether the reader may. `action__plan` and `environment` must be joined."""
    verbs = action_verbs(access, ticket.action)
    shut = Quarantine.objects.filter(action=ticket.action_id, cleared_at=None).order_by("kind", "name")
    names = [f"{kind} {name}" for kind, name in shut.values_list("kind", "name")[:MOST_NAMED]]
    steps = next_steps(ticket, ticket.action, ticket.environment.slug, verbs, names)
    if access.can("propose", ticket.environment_id):
        return steps
    return [s for s in steps if not s.href.startswith("/actions/new/") or s.verb]


def diagnostics(ticket: Ticket) -> bytes:
    """The document that was gathered. Raises NotFound while there is none."""
    try:
        return read_artifact(ticket.tenant_id, ticket.evidence) if ticket.evidence else b""
    except ArtifactMissing:
        raise NotFound("The diagnostics are no longer kept.") from None


def known(ticket: Ticket) -> dict[str, Any]:
    """The diagnostics as a document; empty while they are gathered, or if they are gone."""
    try:
        found = json.loads(diagnostics(ticket) or b"{}")
    except (NotFound, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def deliveries(ticket: Ticket) -> list[dict[str, Any]]:
    """The newest messages about a ticket with the names of whom they went to. Three queries."""
    rows = list(ticket.deliveries.order_by("-id")[:MOST_DELIVERIES])
    ids = {d.recipient for d in rows}
    names = {h.pk: f"{h.name} ({h.host})" for h in Webhook.objects.filter(tenant=ticket.tenant_id, pk__in=ids)}
    names |= {p.pk: str(p) for p in Principal.objects.filter(pk__in=ids)}
    return [
        {"delivery": d, "to": names.get(d.recipient, "gone"), "is_dead": d.state == Delivery.State.FAILED} for d in rows
    ]


def comments(ticket: Ticket) -> list[Comment]:
    """What was said about the action, oldest first, the newest hundred. One query."""
    about = Comment.objects.filter(tenant=ticket.tenant_id, subject_kind="action", subject_id=ticket.action_id)
    return list(about.select_related("author__owner").order_by("-at", "-id")[:MOST_COMMENTS])[::-1]
