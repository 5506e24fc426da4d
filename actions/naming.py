"""What the audit log calls actions, environments and circuit breakers."""

from uuid import UUID

from django.db.models import Q

from actions.models import Action, Breaker
from actions.run.breakers import subject_of as breaker_subject
from audit.auditor.log.subject_page import register_links
from audit.log.events import Subject
from audit.log.subjects import register_describer
from tenants.models import Environment


def connect() -> None:
    register_describer("environment", environments)
    register_describer("action", actions)
    register_describer("breaker", breakers)
    register_links("action", followers)


def actions(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """Title and address of a tenant's actions, by id."""
    found = Action.objects.filter(tenant=tenant, pk__in=ids).values_list("pk", "title")
    return {pk: Subject("action", pk, title, f"/actions/{pk}/") for pk, title in found}


def followers(tenant: UUID, action_id: UUID) -> list[tuple[str, Subject]]:
    """What was proposed because of an action: its retries, what undoes it or it fell back to, the newest twenty."""
    related = Q(retry_of=action_id) | Q(undo_of=action_id) | Q(fallback_of=action_id)
    found = Action.objects.filter(related, tenant=tenant).order_by("-id")[:20]
    return [
        (
            "retried by" if it.retry_of_id else "undone by" if it.undo_of_id else "fell back to",
            Subject("action", it.pk, it.title, f"/actions/{it.pk}/"),
        )
        for it in found.only("pk", "title", "retry_of", "undo_of")
    ]


def breakers(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """Circuit breakers, which are listed on the system page."""
    return {b.pk: breaker_subject(b) for b in Breaker.objects.filter(tenant=tenant, pk__in=ids)}


def environments(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """Environments, by whose switch something was held."""
    found = Environment.objects.filter(tenant=tenant, pk__in=ids)
    return {e.pk: Subject("environment", e.pk, e.name, f"/environments/{e.slug}/") for e in found}
