"""What the audit log calls actions."""

from uuid import UUID

from actions.models import Action
from audit.events import Subject
from audit.subjects import register_describer


def connect() -> None:
    register_describer("action", actions)


def actions(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """Title and address of a tenant's actions, by id."""
    found = Action.objects.filter(tenant=tenant, pk__in=ids).values_list("pk", "title")
    return {pk: Subject("action", pk, title, f"/actions/{pk}/") for pk, title in found}
