"""Permissions: who may do what in which environment. No other module decides it.

Permissions come from guardian's rows on tenants and environments, given to a role's group or to one principal. Grants
on a tenant cover its environments. A superuser holds only what is granted. Inactive principals, and agents of an
inactive owner, hold nothing. An agent never decides, breaks glass or administers.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db.models import F, Model, Q, QuerySet, Value
from django.http import HttpRequest

from tenants.models import (
    ApiToken,
    Environment,
    EnvironmentGroupObjectPermission,
    EnvironmentUserObjectPermission,
    Principal,
    Tenant,
    TenantGroupObjectPermission,
    TenantUserObjectPermission,
)

PEOPLE_ONLY = frozenset({"approve", "break_glass", "administer"})
NOTHING: frozenset[str] = frozenset()
Grant = tuple[UUID, str, str]  # id of a tenant or environment, permission, role name or ""
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, eq=False)
class Access:
    """The permissions of one principal in one tenant, at one moment.

    `environments` holds the permissions in each environment, grants on the tenant included; only environments with any.
    `roles` maps a role's name to the environments it is granted in; None is the whole tenant.
    """

    principal: Principal
    tenant: Tenant
    environments: Mapping[UUID, frozenset[str]] = field(default_factory=dict)
    tenant_permissions: frozenset[str] = NOTHING
    roles: Mapping[str, frozenset[UUID] | None] = field(default_factory=dict)
    token: ApiToken | None = None

    def can(self, permission: str, environment_id: UUID | None = None) -> bool:
        """Whether the permission is held in that environment; without one, in the whole tenant."""
        if environment_id is None:
            return permission in self.tenant_permissions
        return permission in self.environments.get(environment_id, NOTHING)

    def environments_where(self, permission: str) -> list[UUID]:
        """The environments, in the order of their slugs, in which the permission is held."""
        return [environment for environment, held in self.environments.items() if permission in held]

    def is_person(self) -> bool:
        return self.principal.is_person()

    def role_in(self, role: str, environment_id: UUID) -> bool:
        """Whether the role is held in that environment of this tenant."""
        if role not in self.roles or environment_id not in self.environments:
            return False
        environments = self.roles[role]
        return environments is None or environment_id in environments


def holds(
    principal: Principal,
    permission: str,
    where: Tenant | Environment,
    *,
    role: str | None = None,
    at: datetime | None = None,
) -> bool:
    """Whether the principal holds the permission there now; with `role`, through that role. One query.

    `at` is the moment at which time-boxed grants are checked; it does not matter to permanent grants.
    """
    tenant_id = where.tenant_id if isinstance(where, Environment) else where.pk
    return any(
        granted_on in (where.pk, tenant_id) and found == permission and role in (None, through)
        for granted_on, found, through in _grants(principal, tenant_id)
    )


def who_may(permission: str, where: Environment, among: Collection[UUID]) -> set[UUID]:
    """Those of these principals who hold the permission in that environment now. One query."""
    here, whole, what = (
        {"content_object": where.pk},
        {"content_object": where.tenant_id},
        {"permission__codename": permission},
    )
    parts = [
        EnvironmentGroupObjectPermission.objects.filter(
            _is_active("group__user"), group__role__tenant=where.tenant_id, group__user__in=among, **here, **what
        ).values_list("group__user", "group__user__kind"),
        TenantGroupObjectPermission.objects.filter(
            _is_active("group__user"), group__role__tenant=where.tenant_id, group__user__in=among, **whole, **what
        ).values_list("group__user", "group__user__kind"),
        EnvironmentUserObjectPermission.objects.filter(_is_active("user"), user__in=among, **here, **what).values_list(
            "user", "user__kind"
        ),
        TenantUserObjectPermission.objects.filter(_is_active("user"), user__in=among, **whole, **what).values_list(
            "user", "user__kind"
        ),
    ]
    found = parts[0].union(*parts[1:], all=True) if among else []
    return {pk for pk, kind in found if kind == "person" or permission not in PEOPLE_ONLY}


def access_of(request: HttpRequest) -> Access:
    """The access of a request that a view's door let through: a signed-in member, or a bearer of a token."""
    access: Access = request.access  # type: ignore[attr-defined]
    return access


def access_for(principal: Principal, tenant: Tenant, token: ApiToken | None = None) -> Access:
    """The principal's access to the tenant, reduced to the token's scopes. Two queries."""
    grants = _grants(principal, tenant.pk)
    if token is not None:
        is_here = token.tenant_id == tenant.pk and token.principal_id == principal.pk
        grants = [grant for grant in grants if grant[1] in token.scopes] if is_here else []
    if not grants:
        return Access(principal, tenant, token=token)
    everywhere = frozenset(permission for granted_on, permission, _ in grants if granted_on == tenant.pk)
    local: dict[UUID, set[str]] = defaultdict(set)
    for granted_on, permission, _ in grants:
        local[granted_on].add(permission)
    ids = Environment.objects.filter(tenant=tenant).order_by("slug").values_list("pk", flat=True)
    held = {pk: everywhere | local.get(pk, NOTHING) for pk in ids}
    return Access(
        principal,
        tenant,
        environments={pk: permissions for pk, permissions in held.items() if permissions},
        tenant_permissions=everywhere,
        roles=_roles(grants, tenant.pk),
        token=token,
    )


def tenants_of(principal: Principal) -> list[Tenant]:
    """The tenants of an active principal; none for an inactive one. One query."""
    return belongs_to(principal) if getattr(principal, "is_active", False) else []


def belongs_to(principal: Principal) -> list[Tenant]:
    """The tenants in which the principal, active or not, has a role or a direct permission. One query."""
    direct = Q(pk__in=TenantUserObjectPermission.objects.filter(user=principal).values("content_object"))
    local = EnvironmentUserObjectPermission.objects.filter(user=principal).values("content_object__tenant")
    through_role = Q(roles__group__in=principal.groups.through.objects.filter(principal=principal).values("group"))
    return list(Tenant.objects.filter(direct | Q(pk__in=local) | through_role).distinct().order_by("slug"))


def visible_to(queryset: QuerySet[M], access: Access) -> QuerySet[M]:
    """Narrow to the tenant, and to the environments in which the access may view. The model has both foreign keys."""
    mine = queryset.filter(tenant=access.tenant)
    if access.can("view"):
        return mine
    environments = access.environments_where("view")
    return mine.filter(environment__in=environments) if environments else queryset.none()


def delegation_chain(principal: Principal) -> set[UUID]:
    """The principal, its owner, the owner's owner …: they count as one person. No query where `owner` is loaded."""
    chain = {principal.pk}
    owner = principal.owner
    while owner is not None and owner.pk not in chain:
        chain.add(owner.pk)
        owner = owner.owner
    return chain


def _roles(grants: list[Grant], tenant_id: UUID) -> dict[str, frozenset[UUID] | None]:
    granted: dict[str, set[UUID]] = defaultdict(set)
    for granted_on, _, role in grants:
        if role:
            granted[role].add(granted_on)
    return {role: None if tenant_id in held else frozenset(held) for role, held in granted.items()}


def _grants(principal: Principal, tenant_id: UUID) -> list[Grant]:
    """Every grant on the tenant and its environments that reaches the principal. One query, never cached."""
    groups, users = {"group__user": principal.pk}, {"user": principal.pk}
    in_role = ("content_object_id", "permission__codename", "group__role__name")
    alone = ("content_object_id", "permission__codename", Value(""))
    parts = [
        TenantGroupObjectPermission.objects.filter(
            _is_active("group__user"), content_object=tenant_id, group__role__tenant=F("content_object"), **groups
        ).values_list(*in_role),
        EnvironmentGroupObjectPermission.objects.filter(
            _is_active("group__user"),
            content_object__tenant=tenant_id,
            group__role__tenant=F("content_object__tenant"),
            **groups,
        ).values_list(*in_role),
        TenantUserObjectPermission.objects.filter(_is_active("user"), content_object=tenant_id, **users).values_list(
            *alone
        ),
        EnvironmentUserObjectPermission.objects.filter(
            _is_active("user"), content_object__tenant=tenant_id, **users
        ).values_list(*alone),
    ]
    found = parts[0].union(*parts[1:], all=True)
    return [grant for grant in found if principal.is_person() or grant[1] not in PEOPLE_ONLY]


def _is_active(user: str) -> Q:
    """The principal is active, and so is the person it answers to."""
    owner = Q(**{f"{user}__owner": None}) | Q(**{f"{user}__owner__is_active": True})
    return Q(**{f"{user}__is_active": True}) & owner
