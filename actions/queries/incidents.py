"""Incidents as pages and API show them: lists by keyset, and one with everything about it."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from actions.incidents.next_steps import NextStep, next_steps
from actions.lifecycle.allowed import allowed_verbs as action_verbs
from actions.models import Action, Delivery, Incident, Quarantine, Webhook
from actions.models.incident import ENDINGS, SEVERITIES
from approvals.models import Comment
from audit.errors import NotFound
from audit.log.artifacts import ArtifactMissing, read_artifact
from tenants.access import Access, visible_to
from tenants.models import Principal

TABS = {"mine": "Yours", "open": "Open", "all": "All"}
UNRESOLVED = ~Q(state="resolved")
MAX_DELIVERIES, MAX_COMMENTS, MAX_NAMED = 50, 100, 20
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
class IncidentFilter:
    """The filters of a list; empty filters nothing. `tab` is a key of TABS."""

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


def incident_rows(access: Access) -> QuerySet[Incident]:
    """The incidents that the caller may view, without large columns, joined for a list."""
    joined = Incident.objects.select_related("environment", "assignee", "action").only(
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


def incident_page(
    access: Access, wanted: IncidentFilter, after: UUID | None = None, limit: int = 25
) -> tuple[list[Incident], str]:
    """One page, newest first, and the cursor of the next; empty at the end. One query."""
    found = incident_rows(access).filter(wanted.condition(access))
    found = found.filter(pk__lt=after) if after else found
    incidents = list(found.order_by("-pk")[: limit + 1])
    return incidents[:limit], str(incidents[limit - 1].pk) if len(incidents) > limit else ""


def unacknowledged(access: Access) -> QuerySet[Incident]:
    """The number beside Incidents: those that the reader has not acknowledged."""
    return visible_to(Incident.objects.filter(UNRESOLVED, assignee=access.principal.pk, state="open"), access)


def latest_incident(action: Action) -> Incident | None:
    """The newest incident of an action, for the action's pages. One query where there may be one."""
    if action.state not in ("failed", "held", "rolled_back"):
        return None
    found = Incident.objects.filter(action=action.pk).select_related("assignee").order_by("-id").first()
    if found is not None:
        found.action = action
    return found


def steps_for(access: Access, incident: Incident) -> list[NextStep]:
    """The next steps, each with whether the reader may take it. `action__plan` and `environment` must be joined."""
    verbs = action_verbs(access, incident.action)
    quarantined = Quarantine.objects.filter(action=incident.action_id, cleared_at=None).order_by("kind", "name")
    names = [f"{kind} {name}" for kind, name in quarantined.values_list("kind", "name")[:MAX_NAMED]]
    steps = next_steps(incident, incident.action, incident.environment.slug, verbs, names)
    if access.can("propose", incident.environment_id):
        return steps
    return [s for s in steps if not s.href.startswith("/actions/new/") or s.verb]


def read_diagnostics(incident: Incident) -> bytes:
    """The diagnostics artifact. Raises NotFound while there is none."""
    try:
        return read_artifact(incident.tenant_id, incident.evidence) if incident.evidence else b""
    except ArtifactMissing:
        raise NotFound("The diagnostics are no longer kept.") from None


def diagnostics_document(incident: Incident) -> dict[str, Any]:
    """The diagnostics as a document; empty while they are collected, or if they are gone."""
    try:
        found = json.loads(read_diagnostics(incident) or b"{}")
    except (NotFound, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def deliveries(incident: Incident) -> list[dict[str, Any]]:
    """The newest notifications of an incident with their recipients' names. Three queries."""
    rows = list(incident.deliveries.order_by("-id")[:MAX_DELIVERIES])
    ids = {d.recipient for d in rows}
    names = {h.pk: f"{h.name} ({h.host})" for h in Webhook.objects.filter(tenant=incident.tenant_id, pk__in=ids)}
    names |= {p.pk: str(p) for p in Principal.objects.filter(pk__in=ids)}
    return [
        {"delivery": d, "to": names.get(d.recipient, "gone"), "is_dead": d.state == Delivery.State.FAILED} for d in rows
    ]


def comments(incident: Incident) -> list[Comment]:
    """The newest hundred comments on the action, oldest first. One query."""
    about = Comment.objects.filter(tenant=incident.tenant_id, subject_kind="action", subject_id=incident.action_id)
    return list(about.select_related("author__owner").order_by("-at", "-id")[:MAX_COMMENTS])[::-1]
