"""What this floor registers with the audit floor: names of people and tenants, who may read the log, name erasure."""

from uuid import UUID

from audit.errors import Conflict
from audit.log.events import Subject
from audit.log.subjects import register_actor_names, register_agent_owners, register_describer, register_environments
from audit.retention.erasure import register_eraser
from audit.web import register_audit_check
from tenants.access import belongs_to, holds
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
    """The owners of those of these principals that are agents: {agent: owner's id}."""
    agents = Principal.objects.filter(pk__in=ids, owner__isnull=False)
    return {pk: str(owner) for pk, owner in agents.values_list("pk", "owner")}


def may_audit(tenant: UUID, principal: UUID) -> bool:
    found = Principal.objects.filter(pk=principal).first()
    where = Tenant.objects.filter(pk=tenant).first()
    return found is not None and where is not None and holds(found, "audit", where)


# A person's name is erased once no other tenant knows it.


ERASED_NAME = "Erased person"


def register_name_erasure() -> None:
    register_eraser("names", erase_names)


def erase_names(tenant: UUID, person: UUID) -> int:
    """Erase name, username and address of a principal; return 1, or 0 if they belong to another tenant too.

    Raises Conflict while the account is active: somebody could still act under an erased name.
    """
    principal = Principal.objects.select_for_update().filter(pk=person).first()
    if principal is None:
        return 0
    belongs = {t.pk for t in belongs_to(principal)}
    if principal.is_active and tenant in belongs:
        raise Conflict(
            f"{principal.username} can still sign in.", remedies=["Deactivate the account, then erase its data."]
        )
    if principal.is_active or belongs - {tenant}:
        return 0
    principal.display_name, principal.email, principal.username = ERASED_NAME, "", f"erased-{principal.pk}"
    principal.save(update_fields=["display_name", "email", "username"])
    return 1
