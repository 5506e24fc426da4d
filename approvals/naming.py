"""What the log's subjects of this floor are called: policies by name, matrices by their environment."""

from uuid import UUID

from django.db.models import Q

from approvals.models import ApprovalRule
from approvals.policies.models import Policy
from audit.log.events import Subject
from audit.log.subjects import register_describer
from tenants.models import Environment


def connect() -> None:
    """Let the log name this floor's subjects."""
    register_describer("policy", policies)
    register_describer("matrix", matrices)
    register_describer("approval_rule", rows)
    register_describer("blast_weights", weights)


def policies(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = Policy.objects.filter(Q(home=tenant) | Q(tenant=None), pk__in=ids)
    return {policy.pk: Subject("policy", policy.pk, policy.slug, f"/rules/policies/{policy.pk}/") for policy in found}


def matrices(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = Environment.objects.filter(tenant=tenant, pk__in=ids)
    return {place.pk: Subject("matrix", place.pk, f"Matrix of {place.slug}", "/rules/matrix/") for place in found}


def weights(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """A tenant's weights have its id."""
    return {tenant: Subject("blast_weights", tenant, "Weights of the blast radius")} if tenant in ids else {}


def rows(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = ApprovalRule.objects.filter(tenant=tenant, pk__in=ids).select_related("environment")
    return {row.pk: Subject("approval_rule", row.pk, f"{row.environment.slug}: {row.tier}") for row in found}
