"""Actors and subjects of this floor's events, and events about principals of several tenants."""

from typing import Any

from django.db import transaction

from audit.log.events import NewEvent, Subject, record
from tenants.access import belongs_to
from tenants.models import Principal, Tenant

SETUP_ACTOR = "system:setup"
By = Principal | str  # the actor: a principal, or "system:<role>"


def record_on_principal(
    principal: Principal,
    verb: str,
    by: By,
    *,
    outcome: str = "ok",
    facts: dict[str, Any] | None = None,
    private: dict[str, str] | None = None,
) -> int:
    """Record an event of the principal's in each of its tenants; return in how many."""
    tenants = belongs_to(principal)
    with transaction.atomic():
        for tenant in tenants:
            record(
                NewEvent(
                    tenant.pk,
                    principal_subject(principal),
                    verb,
                    actor_of(by),
                    outcome,
                    facts=facts or {},
                    private=private or {},
                )
            )
    return len(tenants)


def actor_of(by: By) -> str:
    return by if isinstance(by, str) else str(by.pk)


def tenant_subject(tenant: Tenant) -> Subject:
    return Subject("tenant", tenant.pk, tenant.name)


def principal_subject(principal: Principal) -> Subject:
    return Subject("principal", principal.pk, str(principal))
