"""The policies in force, read for many tenants at once; and the epoch, by which readers notice a change."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, Q

from approvals.models import PolicyVersion, RuleEpoch

EVERYWHERE = UUID(int=0)
"""The scope of global rules in `RuleEpoch`."""


@dataclass(frozen=True)
class ActivePolicy:
    """A published version of a guard policy. `required_approvals` are {"role", "count"}, only for the effect
    `require`.
    """

    policy_id: UUID
    slug: str
    version: int
    expression: str
    effect: str
    required_approvals: list[dict[str, Any]]
    message: str
    overridable: bool
    mode: str
    is_global: bool


def active_policies_for(tenant_ids: Iterable[UUID]) -> dict[UUID, list[ActivePolicy]]:
    """The published policies that guard each of these tenants: global ones first, then its own, by slug. One query."""
    tenants = list(tenant_ids)
    if not tenants:
        return {}
    published = PolicyVersion.objects.filter(Q(policy__tenant=None) | Q(policy__tenant__in=tenants), state="published")
    everywhere: list[ActivePolicy] = []
    own: dict[UUID, list[ActivePolicy]] = {tenant: [] for tenant in tenants}
    for version in published.select_related("policy").order_by(F("policy__slug")):
        policy = version.policy
        (everywhere if policy.tenant_id is None else own[policy.tenant_id]).append(active_policy_from(version))
    return {tenant: [*everywhere, *rules] for tenant, rules in own.items()}


def active_policy_from(version: PolicyVersion) -> ActivePolicy:
    """A version as evaluation reads it, whatever its state: for backtests. Needs `policy` joined."""
    return ActivePolicy(
        policy_id=version.policy_id,
        slug=version.policy.slug,
        version=version.version,
        expression=version.expression,
        effect=version.effect,
        required_approvals=version.required_approvals,
        message=version.message,
        overridable=version.overridable,
        mode=version.mode,
        is_global=version.policy.is_global,
    )


def epoch_sql(tenant: str) -> str:
    """A scalar subquery for the epoch of a tenant, to add to a statement that runs anyway.

    `tenant` is SQL for the tenant's id: a column, or a placeholder. The number grows with every change of a rule that
    guards the tenant, global ones included; it says that something changed, not what.
    """
    return (
        f"(SELECT COALESCE(SUM(n), 0) FROM {RuleEpoch._meta.db_table} "
        f"WHERE scope = {tenant} OR scope = '{EVERYWHERE.hex}')"
    )


def epoch_of(tenant_id: UUID) -> int:
    """The epoch of one tenant. One query."""
    return sum(RuleEpoch.objects.filter(scope__in=[tenant_id, EVERYWHERE]).values_list("n", flat=True))


def bump_epoch(tenant_id: UUID | None) -> None:
    """Count a change to the rules of a tenant (None: global ones), in its transaction. Locks the row."""
    scope = RuleEpoch._meta.pk.get_db_prep_value(tenant_id or EVERYWHERE, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {RuleEpoch._meta.db_table} (scope, n) VALUES (%s, 1) "
            f"ON CONFLICT (scope) DO UPDATE SET n = {RuleEpoch._meta.db_table}.n + 1",
            [scope],
        )
