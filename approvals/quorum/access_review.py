"""Access review: who may approve what, since when, and when they last did."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import Count, Max

from approvals.models import Decision, MatrixRow
from approvals.quorum.role_holders import role_tenures_in
from audit.auditor.reports.registry import Column, Report, ReportScope, Row, register_report
from audit.changes.visible import visible
from tenants.models import Environment, Principal

BEFORE_RECORDS = 1971


def access_review_rows(wanted: ReportScope) -> Iterator[Row | None]:
    """By environment, role and name. Each person who may approve is looked at once per role and environment."""
    places = Environment.objects.filter(tenant=wanted.tenant).order_by("slug")
    if wanted.environment:
        places = places.filter(pk=wanted.environment)
    found = role_tenures_in({place.pk: place.tenant_id for place in places})
    people = Principal.objects.in_bulk({pk for roles in found.values() for held in roles.values() for pk in held})
    used, tiers = _last_used(wanted.tenant), _tiers(wanted.tenant)
    for place in places:
        for role in sorted(found[place.pk]):
            held = found[place.pk][role]
            for pk in sorted(held, key=lambda pk: (str(people[pk]).casefold(), str(pk))):
                yield None
                last, count = used.get((pk, place.pk, role), (None, 0))
                since = held[pk]
                yield {
                    "environment": place.slug,
                    "risk_class": place.risk_class,
                    "role": visible(role),
                    "who": visible(str(people[pk])),
                    "username": people[pk].username,
                    "tiers": tiers.get((place.pk, role), []) or "none: no required approval asks for it",
                    "since": since if since.year >= BEFORE_RECORDS else "before records began",
                    "last_used": last or "never",
                    "decisions": count,
                    "id": str(pk),
                }


def _last_used(tenant: UUID) -> dict[tuple[UUID, UUID, str], tuple[Any, int]]:
    decided = Decision.objects.filter(request__tenant=tenant).order_by()
    grouped = decided.values_list("principal", "request__environment", "role").annotate(Max("at"), Count("pk"))
    return {(who, place, role): (last, count) for who, place, role, last, count in grouped}


def _tiers(tenant: UUID) -> dict[tuple[UUID, str], list[str]]:
    """The tiers at which a required approval of the matrix asks for a role."""
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
    question="Who may approve changes where, in which role, since when, and when did they last decide?",
    columns=(
        Column("environment", "Where", 2),
        Column("risk_class", "Its risk", 2),
        Column("role", "Role", 2),
        Column("who", "Who", 3),
        Column("username", "Account", 3),
        Column("tiers", "Required approvals it fills (people asked)", 5),
        Column("since", "Since", 3),
        Column("last_used", "Last decided", 3),
        Column("decisions", "Decisions", 2),
        Column("id", "Id", 5),
    ),
    rows=access_review_rows,
    looked_at="people in roles",
    shows="As of now: every active person who holds a role that may approve in an environment, directly there or in "
    "the whole tenant; since when without a break; which tiers ask for that role; their last decision there in that "
    "role.",
    shows_not="Who could give themselves or others a role (who administers the tenant), access to the machines, agents "
    "(they never approve), and people whose accounts are switched off.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
    is_of_period=False,
)


def register_access_review() -> None:
    register_report(REPORT)
