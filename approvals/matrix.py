"""The threshold matrix, as the judge wants it."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from approvals.models import ApprovalRule

Matrix = dict[str, list[dict[str, Any]]]


def matrix_for(tenant_ids: Iterable[UUID]) -> dict[UUID, Matrix]:
    """{environment id: {tier: seats}} of these tenants' environments that have at least one row. One query."""
    found: dict[UUID, Matrix] = {}
    rules = ApprovalRule.objects.filter(tenant_id__in=list(tenant_ids)).order_by()
    for environment_id, tier, seats in rules.values_list("environment_id", "tier", "seats"):
        found.setdefault(environment_id, {})[tier] = seats
    return found
