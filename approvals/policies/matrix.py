"""The approval matrix: read it as evaluation needs it, and change it with an event."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction

from approvals.models import TIERS, MatrixRow
from approvals.policies.active_policies import bump_epoch
from approvals.verdict import check_required_approvals, describe_required_approvals
from audit.errors import Invalid
from audit.log.events import NewEvent, Subject, record
from tenants.models import Environment
from tenants.roles import approving_roles

Matrix = dict[str, list[dict[str, Any]]]


def matrix_for(tenant_ids: Iterable[UUID]) -> dict[UUID, Matrix]:
    """{environment id: {tier: required approvals}} of these tenants' environments that have at least one row. One
    query.
    """
    found: dict[UUID, Matrix] = {}
    rules = MatrixRow.objects.filter(tenant_id__in=list(tenant_ids)).order_by()
    for environment_id, tier, required_approvals in rules.values_list("environment_id", "tier", "required_approvals"):
        found.setdefault(environment_id, {})[tier] = required_approvals
    return found


def matrix_table(environments: Iterable[Environment]) -> list[dict[str, Any]]:
    """The matrix as people read it, a row per environment with every tier: missing ones are denied. One query.

    Rows are {"environment": Environment, "cells": [{"tier", "effect": deny|require_approval|allow,
    "required_approvals", "words", "rule": id}]}.
    """
    environments = list(environments)
    rules = {(r.environment_id, r.tier): r for r in MatrixRow.objects.filter(environment__in=environments)}
    return [
        {"environment": each, "cells": [_table_cell(tier, rules.get((each.pk, tier))) for tier in TIERS]}
        for each in environments
    ]


def _table_cell(tier: str, rule: MatrixRow | None) -> dict[str, Any]:
    if rule is None:
        return {"tier": tier, "effect": "deny", "required_approvals": [], "words": "denied", "rule": None}
    effect, words = (
        ("require_approval", describe_required_approvals(rule.required_approvals))
        if rule.required_approvals
        else ("allow", "no approval")
    )
    return {
        "tier": tier,
        "effect": effect,
        "required_approvals": rule.required_approvals,
        "words": words,
        "rule": rule.pk,
    }


def set_row(
    environment: Environment, tier: str, required_approvals: list[dict[str, Any]], *, by: str, correlation_id: str = ""
) -> MatrixRow:
    """Write the row of an environment and tier; an empty list requires no approval. Locks the row.

    Records before and after. Applies to every plan evaluated from now on, and to approved ones at their start.
    Raises Invalid for required approvals that cannot be read, or that name a role whose people may not approve there.
    """
    check_row(environment, tier, required_approvals)
    with transaction.atomic():
        Environment.objects.select_for_update().get(pk=environment.pk)
        rule = MatrixRow.objects.select_for_update().filter(environment=environment, tier=tier).first()
        before = rule.required_approvals if rule else None
        if rule is None:
            rule = MatrixRow(tenant_id=environment.tenant_id, environment=environment, tier=tier)
        rule.required_approvals = required_approvals
        rule.save()
        if before != required_approvals:
            verb = "matrix.row_added" if before is None else "matrix.row_changed"
            _record(rule, verb, before, required_approvals, by, correlation_id)
            bump_epoch(rule.tenant_id)
    return rule


def remove_row(rule: MatrixRow, *, by: str, correlation_id: str = "") -> None:
    """Remove a row, which denies every change of its tier in its environment from now on. Records before and after."""
    with transaction.atomic():
        found = MatrixRow.objects.select_for_update().filter(pk=rule.pk).first()
        if found is not None:
            _record(found, "matrix.row_removed", found.required_approvals, None, by, correlation_id)
            found.delete()
            bump_epoch(found.tenant_id)


def check_row(environment: Environment, tier: str, required_approvals: list[dict[str, Any]]) -> None:
    """Raise Invalid for required approvals that cannot be read, or that nobody can fill."""
    try:
        check_required_approvals(required_approvals)
    except ValueError as error:
        raise Invalid(str(error), issues=[_issue(str(error), "required_approvals")]) from None
    if tier not in MatrixRow.Tier.values:
        raise Invalid(issues=[_issue(f"{tier} is not a tier.", "tier")])
    unable = {required["role"] for required in required_approvals} - approving_roles(environment)
    if unable:
        never = "so nobody could fill it. Grant the role that permission first, or choose another role."
        issues = [
            _issue(f"{role} may not approve in {environment.slug}, {never}", "required_approvals")
            for role in sorted(unable)
        ]
        raise Invalid(issues[0]["message"], issues=issues)


def _record(
    rule: MatrixRow,
    verb: str,
    before: list[dict[str, Any]] | None,
    after: list[dict[str, Any]] | None,
    by: str,
    correlation_id: str,
) -> None:
    facts = {"environment": str(rule.environment_id), "tier": rule.tier, "before": before, "after": after}
    record(
        NewEvent(rule.tenant_id, Subject("matrix_row", rule.pk), verb, by, correlation_id=correlation_id, facts=facts)
    )


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}
