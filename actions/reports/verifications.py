"""Failed verifications: changes whose result, read again after the last step, was not what their plan promised."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from actions.models import Impact
from audit.auditor.reports.registry import Column, Report, ReportScope, Row
from audit.changes.visible import visible

BATCH = 500


def rows(wanted: ReportScope) -> Iterator[Row | None]:
    """In the order in which they ended. Every verified run is looked at, only failed ones are rows."""
    after: tuple[datetime, UUID] | None = None
    while True:
        found = _batch(wanted, after)
        if not found:
            return
        for it in found:
            yield None
            if it.checks_failed:
                yield _row(it)
        assert found[-1].ended_at is not None
        after = found[-1].ended_at, found[-1].pk


def _batch(wanted: ReportScope, after: tuple[datetime, UUID] | None) -> list[Impact]:
    found = Impact.objects.filter(action__tenant=wanted.tenant, checks__isnull=False, ended_at__isnull=False)
    if wanted.environment:
        found = found.filter(environment=wanted.environment)
    if wanted.since and wanted.until:
        found = found.filter(ended_at__gte=wanted.since, ended_at__lt=wanted.until)
    if after:
        found = found.filter(Q(ended_at__gt=after[0]) | Q(ended_at=after[0], pk__gt=after[1]))
    return list(found.select_related("action__requester", "environment").order_by("ended_at", "pk")[:BATCH])


def _row(it: Impact) -> Row:
    return {
        "ended_at": it.ended_at,
        "title": visible(it.action.title),
        "type": it.type,
        "environment": it.environment.slug,
        "tier": it.tier,
        "requested_by": visible(str(it.action.requester)),
        "failed": it.checks_failed,
        "checks": it.checks,
        "predicted": it.predicted_changes,
        "verified": it.verified_changes,
        "state": it.state,
        "id": str(it.action_id),
    }


REPORT = Report(
    kind="failed_verifications",
    title="Failed verifications",
    question="Which changes did not do what their plan had promised, as far as reading the target again could tell?",
    columns=(
        Column("ended_at", "Ended at", 3),
        Column("title", "Change", 6),
        Column("type", "Type", 3),
        Column("environment", "Where", 2),
        Column("tier", "Tier", 2),
        Column("requested_by", "Asked by", 3),
        Column("failed", "Checks failed", 2),
        Column("checks", "of", 1),
        Column("predicted", "Changes planned", 2),
        Column("verified", "found", 2),
        Column("state", "Came to", 3),
        Column("id", "Id", 5),
    ),
    rows=rows,
    looked_at="verified runs",
    shows="Runs that ended in the period after their verification, of which at least one check failed, and what came "
    "of them: rolled back, failed, or completed after a person settled it.",
    shows_not="Changes that never came to their verification (they failed before), and checks that nobody "
    "configured. The verification report of each change is in its evidence pack.",
    controls=("CC8.1", "CM-3", "6.5"),
)
