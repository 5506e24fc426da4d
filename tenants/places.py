"""Make tenants and environments, complete: with their key, their roles and the event that says so."""

from typing import Any

from django.db import transaction

from audit.database.clock import uuid7
from audit.log.events import NewEvent, record
from tenants.models import Environment, Tenant
from tenants.roles import SETUP, By, actor_of, create_standard_roles, tenant_subject
from tenants.vault import new_wrapped_key


def create_tenant(slug: str, name: str, by: By = SETUP) -> Tenant:
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
    tenant: Tenant, slug: str, name: str, risk_class: str, root: str = "", by: By = SETUP, **fields: Any
) -> Environment:
    """Create an environment; `root` is a directory, not checked here. Event `environment.created` on the tenant."""
    with transaction.atomic():
        environment = Environment(tenant=tenant, slug=slug, name=name, risk_class=risk_class, root=root, **fields)
        environment.full_clean()
        environment.save(force_insert=True)
        facts = {"environment": str(environment.pk), "slug": slug, "risk_class": risk_class}
        record(NewEvent(tenant.pk, tenant_subject(tenant), "environment.created", actor_of(by), facts=facts))
    return environment
