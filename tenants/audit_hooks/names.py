"""What the audit log calls people and tenants, and who may read it."""

from uuid import UUID

from audit.log.events import Subject
from audit.log.subjects import register_actor_names, register_agent_owners, register_describer, register_environments
from audit.web import register_audit_check
from tenants.access import holds
from tenants.models import Environment, Principal, Tenant


def register_audit_names() -> None:
    register_actor_names(principal_names)
    register_environments(environment_slugs)
    register_agent_owners(agent_owners)
    register_audit_check(may_audit)
    register_describer("principal", describe_principals)
    register_describer("tenant", describe_tenants)


def principal_names(tenant: UUID, ids: set[UUID]) -> dict[UUID, str]:
    """Names of principals by id. Whoever acted in a tenant may be named there."""
    return {principal.pk: str(principal) for principal in Principal.objects.filter(pk__in=ids)}


def describe_principals(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    return {pk: Subject("principal", pk, name) for pk, name in principal_names(tenant, ids).items()}


def describe_tenants(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    return {found.pk: Subject("tenant", found.pk, found.name) for found in Tenant.objects.filter(pk=tenant, pk__in=ids)}


def environment_slugs(tenant: UUID) -> dict[UUID, str]:
    return dict(Environment.objects.filter(tenant=tenant).values_list("pk", "slug"))


def agent_owners(tenant: UUID, ids: set[UUID]) -> dict[UUID, str]:
    """Who answers for those of these principals that are agents: {agent: owner's id}."""
    agents = Principal.objects.filter(pk__in=ids, owner__isnull=False)
    return {pk: str(owner) for pk, owner in agents.values_list("pk", "owner")}


def may_audit(tenant: UUID, principal: UUID) -> bool:
    found = Principal.objects.filter(pk=principal).first()
    place = Tenant.objects.filter(pk=tenant).first()
    return found is not None and place is not None and holds(found, "audit", place)
