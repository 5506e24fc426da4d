"""Who could fill a seat: the active people who hold a role that may approve in an environment, and since when.

A role that was given after a request opened never fills its seats, however it was given, and whoever held it before:
`approvals.since` keeps the times.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from approvals.models import Request
from approvals.records import GrantSince, MemberSince
from tenants.models import Environment, EnvironmentGroupObjectPermission, Role, TenantGroupObjectPermission

Holders = dict[str, set[UUID]]
Standing = dict[str, dict[UUID, datetime]]
"""Role name → principal → since when."""


def holders(requests: Iterable[Request], among: Collection[UUID] | None = None) -> dict[UUID, Holders]:
    """{request id: {role name: principal ids}}: who holds it now, and has since before the request opened. One query.

    `among` narrows the answer to these principals.
    """
    requests = list(requests)
    found = standing_in({request.environment_id: request.tenant_id for request in requests}, among)
    return {request.pk: as_of(found[request.environment_id], request.opened_at) for request in requests}


def as_of(standing: Standing, at: datetime) -> Holders:
    """The holders among these who have held their role since then or longer."""
    early = {role: {pk for pk, since in people.items() if since <= at} for role, people in standing.items()}
    return {role: people for role, people in early.items() if people}


def holders_in(environments: Mapping[UUID, UUID], among: Collection[UUID] | None = None) -> dict[UUID, Holders]:
    """{environment id: {role name: principal ids}} now, for {environment id: tenant id}. One query."""
    found = standing_in(environments, among)
    return {place: {role: set(people) for role, people in roles.items()} for place, roles in found.items()}


def standing_in(environments: Mapping[UUID, UUID], among: Collection[UUID] | None = None) -> dict[UUID, Standing]:
    """{environment id: {role name: {principal id: since}}} for {environment id: tenant id}. One query.

    A person holds a role in an environment when they are in its group and that group has `approve` there, or in the
    whole tenant. Agents and inactive people hold none; a superuser holds what is granted and no more. Who holds a role
    in two ways holds it since the earlier one.
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
    found: dict[UUID, Standing] = defaultdict(lambda: defaultdict(dict))
    rows = _timed(in_environments, "environment").union(_timed(in_tenants, "tenant"))
    for place, role, principal, joined, granted in rows:
        if joined is not None and granted is not None:  # a row without its time cannot count
            since, people = max(joined, granted), found[place][role]
            people[principal] = min(since, people.get(principal, since))
    return {environment: _merged(found[environment], found[tenant]) for environment, tenant in environments.items()}


def _timed(grants: QuerySet[Any], kind: str) -> QuerySet[Any, tuple[Any, ...]]:
    """Place, role, principal, member since, granted since."""
    member = MemberSince.objects.filter(principal_id=OuterRef("group__user"), group_id=OuterRef("group"))
    granted = GrantSince.objects.filter(kind=kind, grant_id=OuterRef("pk"))
    since = {"joined": Subquery(member.values("since")[:1]), "granted": Subquery(granted.values("since")[:1])}
    return grants.annotate(**since).values_list(
        "content_object", "group__role__name", "group__user", "joined", "granted"
    )


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


def _merged(*parts: Standing) -> Standing:
    found: Standing = {}
    for part in parts:
        for role, people in part.items():
            into = found.setdefault(role, {})
            for principal, since in people.items():
                into[principal] = min(since, into.get(principal, since))
    return found
