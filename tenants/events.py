"""Events about principals themselves, who may belong to several tenants."""

from typing import Any

from django.db import transaction

from audit.log.events import NewEvent, record
from tenants.access import belongs_to
from tenants.models import Principal
from tenants.roles import By, actor_of, principal_subject


def record_on_principal(
    principal: Principal,
    verb: str,
    by: By,
    *,
    outcome: str = "ok",
    facts: dict[str, Any] | None = None,
    private: dict[str, str] | None = None,
) -> int:
    """Record an event of the principal's in each tenant that it belongs to; return in how many."""
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
