"""Roles and their members. Every change records an event and makes open connections check access again."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Model, Q
from django.dispatch import Signal

from audit.errors import Invalid
from audit.log.events import NewEvent, record
from tenants.audit_hooks.events import SETUP_ACTOR, By, actor_of, principal_subject, tenant_subject
from tenants.models import (
    PERMISSIONS,
    Environment,
    EnvironmentGroupObjectPermission,
    Principal,
    Role,
    Tenant,
    TenantGroupObjectPermission,
)

STANDARD_ROLES: Mapping[str, tuple[str, ...]] = {
    "operator": ("view", "propose", "operate"),
    "approver": ("view", "approve"),
    "security": ("view", "approve"),
    "auditor": ("view", "audit"),
    "admin": ("view", "audit", "administer"),
}
roles_changed = Signal()  # kwargs: principal_id. Sent after commit: the access of this principal changed.


class UnknownPermission(Invalid):
    """This is not a permission."""

    code = "unknown_permission"


class WrongTenant(Invalid):
    """A role can be granted only in its own tenant."""

    code = "wrong_tenant"


def create_role(tenant: Tenant, name: str, by: By = SETUP_ACTOR) -> Role:
    """Create an empty role and its group. Event `role.created` on the tenant."""
    with transaction.atomic():
        group = Group.objects.create(name=f"{tenant.pk}:{name}")
        role = Role.objects.create(tenant=tenant, name=name, group=group)
        facts = {"role": name}
        record(NewEvent(tenant.pk, tenant_subject(tenant), "role.created", actor_of(by), facts=facts))
    return role


def create_standard_roles(tenant: Tenant, by: By = SETUP_ACTOR) -> dict[str, Role]:
    """Create operator, approver, security, auditor and admin, granted on the whole tenant. {name: role}."""
    with transaction.atomic():
        roles = {name: create_role(tenant, name, by) for name in STANDARD_ROLES}
        for role in roles.values():
            grant(role, tenant, by=by)
    return roles


def grant(
    role: Role, where: Tenant | Environment, permissions: Iterable[str] | None = None, by: By = SETUP_ACTOR
) -> None:
    """Set what a role may do there: exactly `permissions` (default: the standard role's; none removes all).

    Event `role.granted` on the tenant, with before and after, when that changes anything. Raises WrongTenant,
    UnknownPermission.
    """
    permitted = set(STANDARD_ROLES.get(role.name, ()) if permissions is None else permissions)
    if unknown := permitted - PERMISSIONS.keys():
        raise UnknownPermission(f"There is no permission {', '.join(sorted(unknown))}.")
    tenant_id = where.tenant_id if isinstance(where, Environment) else where.pk
    if tenant_id != role.tenant_id:
        raise WrongTenant
    table = EnvironmentGroupObjectPermission if isinstance(where, Environment) else TenantGroupObjectPermission
    with transaction.atomic():
        rows = table.objects.filter(group=role.group, content_object=where.pk)
        before = set(rows.values_list("permission__codename", flat=True))
        if before == permitted:
            return
        rows.exclude(permission__codename__in=permitted).delete()
        _insert(table, role.group, where, permitted - before)
        facts = {
            "role": role.name,
            "where": where._meta.model_name,
            "where_id": str(where.pk),
            "before": sorted(before),
            "after": sorted(permitted),
        }
        record(NewEvent(role.tenant_id, tenant_subject(role.tenant), "role.granted", actor_of(by), facts=facts))
        announce_role_change(role.group.user_set.values_list("pk", flat=True))


def permissions_of(role: Role, where: Tenant | Environment) -> set[str]:
    """The permissions granted on exactly this tenant or environment."""
    table = EnvironmentGroupObjectPermission if isinstance(where, Environment) else TenantGroupObjectPermission
    rows = table.objects.filter(group=role.group, content_object=where.pk)
    return set(rows.values_list("permission__codename", flat=True))


def add_member(principal: Principal, role: Role, by: By = SETUP_ACTOR) -> bool:
    """Add a principal to a role; False if already a member. Event `role.member_added` on the principal."""
    return _change_membership(principal, role, by, "role.member_added", adds=True)


def remove_member(principal: Principal, role: Role, by: By = SETUP_ACTOR) -> bool:
    """Remove a principal from a role; False if not a member. Event `role.member_removed` on the principal."""
    return _change_membership(principal, role, by, "role.member_removed", adds=False)


def announce_role_change(principal_ids: Iterable[UUID]) -> None:
    """After commit, make open connections of these principals check access again."""
    ids = list(principal_ids)
    transaction.on_commit(lambda: [roles_changed.send(Principal, principal_id=pk) for pk in ids])


def _change_membership(principal: Principal, role: Role, by: By, verb: str, *, adds: bool) -> bool:
    with transaction.atomic():
        through = Principal.groups.through
        link: dict[str, Any] = {"principal_id": principal.pk, "group_id": role.group_id}
        if adds:
            _, changed = through.objects.get_or_create(**link)
        else:
            changed = bool(through.objects.filter(**link).delete()[0])
        if changed:
            facts = {"role": role.name}
            record(NewEvent(role.tenant_id, principal_subject(principal), verb, actor_of(by), facts=facts))
            announce_role_change([principal.pk])
    return changed


def _insert(table: type[Model], group: Group, where: Tenant | Environment, codenames: set[str]) -> None:
    label = where._meta.model_name
    ids = Permission.objects.filter(
        content_type__app_label="tenants", content_type__model=label, codename__in=codenames
    ).values_list("pk", flat=True)
    rows = [table(group=group, permission_id=pk, content_object_id=where.pk) for pk in ids]
    table._default_manager.bulk_create(rows, ignore_conflicts=True)


def approving_roles(environment: Environment) -> set[str]:
    """The names of the roles whose people may approve in an environment, with or without members. One query."""
    here = EnvironmentGroupObjectPermission.objects.filter(
        content_object=environment.pk, permission__codename="approve"
    ).values("group")
    everywhere = TenantGroupObjectPermission.objects.filter(
        content_object=environment.tenant_id, permission__codename="approve"
    ).values("group")
    roles = Role.objects.filter(Q(group__in=here) | Q(group__in=everywhere), tenant=environment.tenant_id)
    return set(roles.values_list("name", flat=True))


def approving_roles_in_tenant(tenant_id: UUID) -> set[str]:
    """The names of the roles whose people may approve anywhere in a tenant, with or without members. One query."""
    approves = {"permission__codename": "approve"}
    somewhere = EnvironmentGroupObjectPermission.objects.filter(content_object__tenant=tenant_id, **approves)
    everywhere = TenantGroupObjectPermission.objects.filter(content_object=tenant_id, **approves)
    able = Q(group__in=somewhere.values("group")) | Q(group__in=everywhere.values("group"))
    return set(Role.objects.filter(able, tenant=tenant_id).values_list("name", flat=True))
