"""What the audit log calls people and tenants, and who may read it."""

from uuid import UUID

from audit.log.events import Subject
from audit.log.subjects import register_actor_names, register_agent_owners, register_describer, register_environments
from audit.web import register_audit_check
from tenants.access import holds
from tenants.models import Environment, Principal, Tenant


def connect() -> None:
    register_actor_names(names)
    register_environments(places)
    register_agent_owners(owners)
    register_audit_check(may_audit)
    register_describer("principal", principals)
    register_describer("tenant", tenants)


def names(tenant: UUID, ids: set[UUID]) -> dict[UUID, str]:
    """Names of principals by id. Whoever acted in a tenant may be named there."""
    return {principal.pk: str(principal) for principal in Principal.objects.filter(pk__in=ids)}


def principals(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    return {pk: Subject("principal", pk, name) for pk, name in names(tenant, ids).items()}


def tenants(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    return {found.pk: Subject("tenant", found.pk, found.name) for found in Tenant.objects.filter(pk=tenant, pk__in=ids)}


def places(tenant: UUID) -> dict[UUID, str]:
    return dict(Environment.objects.filter(tenant=tenant).values_list("pk", "slug"))


def owners(tenant: UUID, ids: set[UUID]) -> dict[UUID, str]:
    """Who answers for those of these principals that are agents: {agent: owner's id}."""
    agents = Principal.objects.filter(pk__in=ids, owner__isnull=False)
    return {pk: str(owner) for pk, owner in agents.values_list("pk", "owner")}


def may_audit(tenant: UUID, principal: UUID) -> bool:
    found = Principal.objects.filter(pk=principal).first()
    place = Tenant.objects.filter(pk=tenant).first()
    return found is not None and place is not None and holds(found, "audit", place)
