"""Create tenants and environments with key, roles and event; and the first tenant with its admin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from audit.database.clock import uuid7
from audit.errors import Conflict
from audit.log.events import NewEvent, record
from tenants.audit_hooks.events import SETUP_ACTOR, By, actor_of, principal_subject, tenant_subject
from tenants.models import Environment, Principal, Tenant
from tenants.roles import add_member, create_standard_roles
from tenants.vault import new_wrapped_key


def create_tenant(slug: str, name: str, by: By = SETUP_ACTOR) -> Tenant:
    """Create a tenant with its data key and the standard roles. Event `tenant.created`, and the roles' own."""
    pk = uuid7()
    with transaction.atomic():
        tenant = Tenant(pk=pk, slug=slug, name=name, wrapped_key=new_wrapped_key(pk))
        tenant.full_clean()
        tenant.save(force_insert=True)
        record(NewEvent(pk, tenant_subject(tenant), "tenant.created", actor_of(by), facts={"slug": slug}))
        create_standard_roles(tenant, by)
    return tenant


def create_environment(
    tenant: Tenant, slug: str, name: str, risk_class: str, root: str = "", by: By = SETUP_ACTOR, **fields: Any
) -> Environment:
    """Create an environment; `root` is a directory, not checked here. Event `environment.created` on the tenant."""
    with transaction.atomic():
        environment = Environment(tenant=tenant, slug=slug, name=name, risk_class=risk_class, root=root, **fields)
        environment.full_clean()
        environment.save(force_insert=True)
        facts = {"environment": str(environment.pk), "slug": slug, "risk_class": risk_class}
        record(NewEvent(tenant.pk, tenant_subject(tenant), "environment.created", actor_of(by), facts=facts))
    return environment


# The first tenant, its environments and its admin.


@dataclass(frozen=True)
class NewEnvironment:
    slug: str
    risk_class: str
    root: str = ""


class AlreadySetUp(Conflict):
    """A tenant exists already; nothing changed."""

    code = "already_set_up"


def bootstrap(
    *,
    slug: str,
    name: str,
    environments: Sequence[NewEnvironment],
    username: str,
    email: str,
    password: str,
    force: bool = False,
) -> Tenant:
    """Create all of it, or nothing. The admin is a superuser with the role `admin`: that role cannot approve.

    With `force`, another tenant is added to the existing ones, and an existing person becomes its admin; their
    password stays. Raises AlreadySetUp; ValidationError for invalid names.
    """
    with transaction.atomic():
        if not force and Tenant.objects.exists():
            raise AlreadySetUp(remedies=["Use the admin site, or --force to add another tenant."])
        tenant = create_tenant(slug, name)
        for each in environments:
            create_environment(tenant, each.slug, each.slug, each.risk_class, each.root)
        admin = Principal.objects.filter(username__iexact=username, kind="person").first() if force else None
        admin = admin or _create_admin(username, email, password)
        add_member(admin, tenant.roles.get(name="admin"))
        facts = {"superuser": admin.is_superuser}
        record(NewEvent(tenant.pk, principal_subject(admin), "principal.made_admin", SETUP_ACTOR, facts=facts))
    return tenant


def _create_admin(username: str, email: str, password: str) -> Principal:
    admin = Principal(username=username, email=email, is_staff=True, is_superuser=True)
    admin.set_password(password)
    admin.full_clean()
    admin.save(force_insert=True)
    return admin
