"""The threshold matrix: read it as the judge wants it, and change it with a trace."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction

from approvals.judge import check_seats, words
from approvals.models import TIERS, ApprovalRule
from approvals.people import approving_roles
from approvals.policies.store import bump
from audit.errors import Invalid
from audit.log.events import NewEvent, Subject, record
from tenants.models import Environment

Matrix = dict[str, list[dict[str, Any]]]


def matrix_for(tenant_ids: Iterable[UUID]) -> dict[UUID, Matrix]:
    """{environment id: {tier: seats}} of these tenants' environments that have at least one row. One query."""
    found: dict[UUID, Matrix] = {}
    rules = ApprovalRule.objects.filter(tenant_id__in=list(tenant_ids)).order_by()
    for environment_id, tier, seats in rules.values_list("environment_id", "tier", "seats"):
        found.setdefault(environment_id, {})[tier] = seats
    return found


def table(environments: Iterable[Environment]) -> list[dict[str, Any]]:
    """The matrix as people read it, a row per environment, every tier of it: missing ones deny. One query.

    Rows are {"environment": Environment, "cells": [{"tier", "effect": deny|hold|allow, "seats", "words", "rule": id}]}.
    """
    environments = list(environments)
    rules = {(r.environment_id, r.tier): r for r in ApprovalRule.objects.filter(environment__in=environments)}
    return [
        {"environment": place, "cells": [_cell(tier, rules.get((place.pk, tier))) for tier in TIERS]}
        for place in environments
    ]


def _cell(tier: str, rule: ApprovalRule | None) -> dict[str, Any]:
    if rule is None:
        return {"tier": tier, "effect": "deny", "seats": [], "words": "denied", "rule": None}
    effect, said = ("hold", words(rule.seats)) if rule.seats else ("allow", "nobody is asked")
    return {"tier": tier, "effect": effect, "seats": rule.seats, "words": said, "rule": rule.pk}


def set_row(
    environment: Environment, tier: str, seats: list[dict[str, Any]], *, by: str, correlation_id: str = ""
) -> ApprovalRule:
    """Write the row of an environment and tier; an empty list asks nobody. Locks the row; records before and after.

    Takes effect for every plan judged from now on, and for approved ones when they are judged again at their start.
    Raises Invalid for seats that do not read, or that name a role whose people may not approve there.
    """
    check_row(environment, tier, seats)
    with transaction.atomic():
        Environment.objects.select_for_update().get(pk=environment.pk)
        rule = ApprovalRule.objects.select_for_update().filter(environment=environment, tier=tier).first()
        before = rule.seats if rule else None
        if rule is None:
            rule = ApprovalRule(tenant_id=environment.tenant_id, environment=environment, tier=tier)
        rule.seats = seats
        rule.save()
        if before != seats:
            verb = "matrix.row_added" if before is None else "matrix.row_changed"
            _record(rule, verb, before, seats, by, correlation_id)
            bump(rule.tenant_id)
    return rule


def drop_row(rule: ApprovalRule, *, by: str, correlation_id: str = "") -> None:
    """Remove a row, which denies every change of its tier in its environment from now on. Records before and after."""
    with transaction.atomic():
        found = ApprovalRule.objects.select_for_update().filter(pk=rule.pk).first()
        if found is not None:
            _record(found, "matrix.row_removed", found.seats, None, by, correlation_id)
            found.delete()
            bump(found.tenant_id)


def check_row(environment: Environment, tier: str, seats: list[dict[str, Any]]) -> None:
    """Raise Invalid for seats that do not read, or that nobody could ever fill."""
    try:
        check_seats(seats)
    except ValueError as error:
        raise Invalid(str(error), issues=[_issue(str(error), "seats")]) from None
    if tier not in ApprovalRule.Tier.values:
        raise Invalid(issues=[_issue(f"{tier} is no tier.", "tier")])
    unable = {seat["role"] for seat in seats} - approving_roles(environment)
    if unable:
        never = "so nobody could ever fill its seat. Grant the role that permission first, or ask another."
        issues = [_issue(f"{role} may not approve in {environment.slug}, {never}", "seats") for role in sorted(unable)]
        raise Invalid(issues[0]["message"], issues=issues)


def _record(
    rule: ApprovalRule,
    verb: str,
    before: list[dict[str, Any]] | None,
    after: list[dict[str, Any]] | None,
    by: str,
    correlation_id: str,
) -> None:
    facts = {"environment": str(rule.environment_id), "tier": rule.tier, "before": before, "after": after}
    record(
        NewEvent(
            rule.tenant_id, Subject("approval_rule", rule.pk), verb, by, correlation_id=correlation_id, facts=facts
        )
    )


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}
