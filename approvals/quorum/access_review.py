"""Access review: who may approve what, since when, and when they last did."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import Count, Max

from approvals.models import Decision, MatrixRow
from approvals.quorum.role_holders import role_tenures_in
from audit.auditor.reports.registry import Column, Report, ReportScope, Row, register_report
from audit.changes.masking import visible
from tenants.models import Environment, Principal

BEFORE_RECORDS = 1971


def access_review_rows(scope: ReportScope) -> Iterator[Row | None]:
    """Rows by environment, role and name: each person who may approve, once per role and environment."""
    environments = Environment.objects.filter(tenant=scope.tenant).order_by("slug")
    if scope.environment:
        environments = environments.filter(pk=scope.environment)
    tenures = role_tenures_in({each.pk: each.tenant_id for each in environments})
    people = Principal.objects.in_bulk({pk for roles in tenures.values() for held in roles.values() for pk in held})
    used, tiers = _last_used(scope.tenant), _tiers(scope.tenant)
    for environment in environments:
        for role in sorted(tenures[environment.pk]):
            held = tenures[environment.pk][role]
            for pk in sorted(held, key=lambda pk: (str(people[pk]).casefold(), str(pk))):
                yield None
                last, count = used.get((pk, environment.pk, role), (None, 0))
                since = held[pk]
                yield {
                    "environment": environment.slug,
                    "risk_class": environment.risk_class,
                    "role": visible(role),
                    "who": visible(str(people[pk])),
                    "username": people[pk].username,
                    "tiers": tiers.get((environment.pk, role), []) or "none: no required approval names it",
                    "since": since if since.year >= BEFORE_RECORDS else "before records began",
                    "last_used": last or "never",
                    "decisions": count,
                    "id": str(pk),
                }


def _last_used(tenant: UUID) -> dict[tuple[UUID, UUID, str], tuple[Any, int]]:
    decided = Decision.objects.filter(request__tenant=tenant).order_by()
    grouped = decided.values_list("principal", "request__environment", "role").annotate(Max("at"), Count("pk"))
    return {(who, where, role): (last, count) for who, where, role, last, count in grouped}


def _tiers(tenant: UUID) -> dict[tuple[UUID, str], list[str]]:
    """The tiers at which the matrix requires an approval of a role."""
    found: dict[tuple[UUID, str], list[str]] = {}
    order = list(MatrixRow.Tier.values)
    rules = MatrixRow.objects.filter(tenant=tenant)
    for rule in sorted(rules, key=lambda rule: order.index(rule.tier)):
        for required in rule.required_approvals:
            found.setdefault((rule.environment_id, required["role"]), []).append(f"{rule.tier} ({required['count']})")
    return found


REPORT = Report(
    kind="access_review",
    title="Access review",
    question="Who may approve changes in which environment, in which role, since when, and when did they last decide?",
    columns=(
        Column("environment", "Environment", 2),
        Column("risk_class", "Risk class", 2),
        Column("role", "Role", 2),
        Column("who", "Person", 3),
        Column("username", "Account", 3),
        Column("tiers", "Tiers (people required)", 5),
        Column("since", "Since", 3),
        Column("last_used", "Last decided", 3),
        Column("decisions", "Decisions", 2),
        Column("id", "Id", 5),
    ),
    rows=access_review_rows,
    looked_at="people in roles",
    shows="As of now: every active person who holds a role that may approve in an environment or in the whole tenant; "
    "since when without interruption; which tiers require that role; their last decision there in that role.",
    shows_not="Who could give themselves or others a role (who administers the tenant), access to the machines, agents "
    "(they never approve), and people whose accounts are deactivated.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
    is_of_period=False,
)


def register_access_review() -> None:
    register_report(REPORT)
