"""Who could fill a seat: the active people who hold a role that may approve in an environment, now."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import F, Q

from approvals.models import Request
from tenants.models import Environment, EnvironmentGroupObjectPermission, Role, TenantGroupObjectPermission

Holders = dict[str, set[UUID]]


def holders(requests: Iterable[Request], among: Collection[UUID] | None = None) -> dict[UUID, Holders]:
    """`holders_in` of the environments of these requests."""
    return holders_in({request.environment_id: request.tenant_id for request in requests}, among)


def holders_in(environments: Mapping[UUID, UUID], among: Collection[UUID] | None = None) -> dict[UUID, Holders]:
    """{environment id: {role name: principal ids}} for {environment id: tenant id}. One query.

    A person holds a role in an environment when they are in its group and that group has `approve` there, or in the
    whole tenant. Agents and inactive people hold none; a superuser holds what is granted and no more. `among` narrows
    the answer to these principals.
    """
    person: dict[str, Any] = {
        "group__user__is_active": True,
        "group__user__kind": "person",
        "permission__codename": "approve",
    }
    if among is not None:
        person["group__user__in"] = list(among)
    in_environments = EnvironmentGroupObjectPermission.objects.filter(
        content_object__in=environments.keys(), group__role__tenant=F("content_object__tenant"), **person
    )
    in_tenants = TenantGroupObjectPermission.objects.filter(
        content_object__in=set(environments.values()), group__role__tenant=F("content_object"), **person
    )
    columns = ("content_object", "group__role__name", "group__user")
    found: dict[UUID, Holders] = defaultdict(lambda: defaultdict(set))
    for place, role, principal in in_environments.values_list(*columns).union(in_tenants.values_list(*columns)):
        found[place][role].add(principal)
    return {environment: _merged(found[environment], found[tenant]) for environment, tenant in environments.items()}


def approving_roles(environment: Environment) -> set[str]:
    """The names of the roles whose people may approve in an environment, held by anybody or not. One query."""
    here = EnvironmentGroupObjectPermission.objects.filter(
        content_object=environment.pk, permission__codename="approve"
    ).values("group")
    everywhere = TenantGroupObjectPermission.objects.filter(
        content_object=environment.tenant_id, permission__codename="approve"
    ).values("group")
    roles = Role.objects.filter(Q(group__in=here) | Q(group__in=everywhere), tenant=environment.tenant_id)
    return set(roles.values_list("name", flat=True))


def roles_that_approve(tenant_id: UUID) -> set[str]:
    """The names of the roles whose people may approve anywhere in a tenant, held by anybody or not. One query."""
    approves = {"permission__codename": "approve"}
    somewhere = EnvironmentGroupObjectPermission.objects.filter(content_object__tenant=tenant_id, **approves)
    everywhere = TenantGroupObjectPermission.objects.filter(content_object=tenant_id, **approves)
    able = Q(group__in=somewhere.values("group")) | Q(group__in=everywhere.values("group"))
    return set(Role.objects.filter(able, tenant=tenant_id).values_list("name", flat=True))


def roles_of(principal: UUID, held: Holders) -> set[str]:
    """The roles that one principal holds."""
    return {role for role, principals in held.items() if principal in principals}


def _merged(*parts: Holders) -> Holders:
    roles = {role for part in parts for role in part}
    return {role: set().union(*(part.get(role, set()) for part in parts)) for role in roles}
