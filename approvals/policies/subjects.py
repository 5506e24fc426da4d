"""The names of this floor's subjects in the log: policies by name, matrices by their environment."""

from uuid import UUID

from django.db.models import Q

from approvals.models import MatrixRow, Policy
from audit.log.events import Subject
from audit.log.subjects import register_describer
from tenants.models import Environment


def register_subjects() -> None:
    """Let the log name this floor's subjects."""
    register_describer("policy", describe_policies)
    register_describer("matrix", describe_matrices)
    register_describer("matrix_row", describe_matrix_rows)
    register_describer("blast_weights", describe_weights)


def describe_policies(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = Policy.objects.filter(Q(home=tenant) | Q(tenant=None), pk__in=ids)
    return {policy.pk: Subject("policy", policy.pk, policy.slug, f"/policies/{policy.pk}/") for policy in found}


def describe_matrices(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = Environment.objects.filter(tenant=tenant, pk__in=ids)
    return {place.pk: Subject("matrix", place.pk, f"Matrix of {place.slug}", "/policies/matrix/") for place in found}


def describe_weights(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """A tenant's weights have its id."""
    return {tenant: Subject("blast_weights", tenant, "Weights of the blast radius")} if tenant in ids else {}


def describe_matrix_rows(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = MatrixRow.objects.filter(tenant=tenant, pk__in=ids).select_related("environment")
    return {row.pk: Subject("matrix_row", row.pk, f"{row.environment.slug}: {row.tier}") for row in found}


def policy_subject(policy: Policy) -> Subject:
    return Subject("policy", policy.pk, policy.slug, f"/policies/{policy.pk}/")


def matrix_subject(environment_id: UUID) -> Subject:
    """An environment's matrix as a whole; its rows are subjects of their own."""
    return Subject("matrix", environment_id)
