"""Who could fill a required approval: active people with a role that may approve in an environment, and since when.

A role that was granted after a request opened never counts for it. `approvals.models.triggers` keeps the times.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, OuterRef, QuerySet, Subquery

from approvals.models import GrantSince, MemberSince, Request
from tenants.models import EnvironmentGroupObjectPermission, TenantGroupObjectPermission

RoleHolders = dict[str, set[UUID]]
RoleTenures = dict[str, dict[UUID, datetime]]
"""Role name → principal → since when."""


def role_holders(requests: Iterable[Request], among: Collection[UUID] | None = None) -> dict[UUID, RoleHolders]:
    """{request id: {role name: principal ids}}: who holds it now, and has held it since before the request opened. One
    query.

    `among` narrows the answer to these principals.
    """
    requests = list(requests)
    found = role_tenures_in({request.environment_id: request.tenant_id for request in requests}, among)
    return {request.pk: holders_at(found[request.environment_id], request.opened_at) for request in requests}


def holders_at(tenures: RoleTenures, at: datetime) -> RoleHolders:
    """The holders who have held their role since `at` or longer."""
    early = {role: {pk for pk, since in people.items() if since <= at} for role, people in tenures.items()}
    return {role: people for role, people in early.items() if people}


def role_holders_in(
    environments: Mapping[UUID, UUID], among: Collection[UUID] | None = None
) -> dict[UUID, RoleHolders]:
    """{environment id: {role name: principal ids}} now, for {environment id: tenant id}. One query."""
    found = role_tenures_in(environments, among)
    return {where: {role: set(people) for role, people in roles.items()} for where, roles in found.items()}


def role_tenures_in(
    environments: Mapping[UUID, UUID], among: Collection[UUID] | None = None
) -> dict[UUID, RoleTenures]:
    """{environment id: {role name: {principal id: since}}} for {environment id: tenant id}. One query.

    A person holds a role in an environment when they are in its group and that group has `approve` there, or in the
    whole tenant. Agents and inactive people hold none; a superuser holds only what is granted. A role held in two
    ways is held since the earlier one.
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
    found: dict[UUID, RoleTenures] = defaultdict(lambda: defaultdict(dict))
    rows = _with_times(in_environments, "environment").union(_with_times(in_tenants, "tenant"))
    for where, role, principal, joined, granted in rows:
        if joined is not None and granted is not None:  # a row without its time cannot count
            since, people = max(joined, granted), found[where][role]
            people[principal] = min(since, people.get(principal, since))
    return {
        environment: _merge_tenures(found[environment], found[tenant]) for environment, tenant in environments.items()
    }


def _with_times(grants: QuerySet[Any], kind: str) -> QuerySet[Any, tuple[Any, ...]]:
    """Tenant or environment, role, principal, member since, granted since."""
    member = MemberSince.objects.filter(principal_id=OuterRef("group__user"), group_id=OuterRef("group"))
    granted = GrantSince.objects.filter(kind=kind, grant_id=OuterRef("pk"))
    since = {"joined": Subquery(member.values("since")[:1]), "granted": Subquery(granted.values("since")[:1])}
    return grants.annotate(**since).values_list(
        "content_object", "group__role__name", "group__user", "joined", "granted"
    )


def roles_of(principal: UUID, held: RoleHolders) -> set[str]:
    """The roles that one principal holds."""
    return {role for role, principals in held.items() if principal in principals}


def _merge_tenures(*parts: RoleTenures) -> RoleTenures:
    found: RoleTenures = {}
    for part in parts:
        for role, people in part.items():
            into = found.setdefault(role, {})
            for principal, since in people.items():
                into[principal] = min(since, into.get(principal, since))
    return found
