"""Reports made again for each week, month or quarter that has ended, as long as whoever set it up may audit."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.access import still_audits
from audit.clock import database_time
from audit.errors import Conflict, Invalid, NotFound, Problem
from audit.events import Entry, Subject, record
from audit.models import ReportSchedule
from audit.reports.parameters import checked
from audit.reports.registry import report_of
from audit.reports.runs import ask
from audit.reports.writing import MEDIA_TYPES
from audit.subjects import register_describer

KIND = "report_schedule"
GRACE = timedelta(minutes=10)
"""After a period's end: by then its last events are sealed and indexed."""
MOST, MOST_RECIPIENTS = 50, 20
ADDRESS = re.compile(r"[^@\s<>,;\"\x00-\x1f]+@[^@\s<>,;\"\x00-\x1f]+\.[^@\s<>,;\"\x00-\x1f]+")
LAPSED = "whoever set it up may no longer audit the tenant"


def create(
    tenant: UUID, by: str, kind: str, form: str, every: str, recipients: list[str], asked: Mapping[str, Any], *,
    correlation_id: str = "",
) -> ReportSchedule:  # fmt: skip
    """Make a report for each period from the one under way on. Event `report.scheduled`. Raises NotFound, Invalid."""
    report, issues = report_of(kind), []
    addresses = list(dict.fromkeys(address.strip() for address in recipients if address.strip()))
    if every not in ReportSchedule.Every.values:
        issues.append(_issue("every", "A report is made every week, month or quarter."))
    if form not in MEDIA_TYPES:
        issues.append(_issue("format", f"A report is made as {', '.join(MEDIA_TYPES)}."))
    if len(addresses) > MOST_RECIPIENTS:
        issues.append(_issue("recipients", f"{MOST_RECIPIENTS} addresses at most."))
    wrong = [a for a in addresses if not ADDRESS.fullmatch(a) or len(a) > 254]
    issues += [_issue("recipients", f"{a[:60]!r} is no mail address.") for a in wrong[:3]]
    if issues:
        raise Invalid(issues[0]["message"], issues=issues)
    kept = {k: v for k, v in checked(tenant, report, {"environment": asked.get("environment")}).items()
            if k == "environment"}  # fmt: skip
    if ReportSchedule.objects.filter(tenant=tenant).count() >= MOST:
        raise Conflict(f"This tenant has {MOST} schedules. Delete one first.")
    with transaction.atomic():
        made = ReportSchedule.objects.create(
            tenant=tenant, by=by, kind=kind, format=form, every=every, recipients=addresses, parameters=kept,
            next_at=after(every, database_time()),
        )  # fmt: skip
        facts = {"report": kind, "format": form, "every": every, "recipients": len(addresses), "parameters": kept}
        _record(made, "report.scheduled", by, facts, correlation_id, {"addresses": ", ".join(addresses)})
    return made


def delete(tenant: UUID, by: str, schedule_id: UUID, *, correlation_id: str = "") -> None:
    """End one's own schedule; its runs stay. Event `report.unscheduled`. Raises NotFound."""
    with transaction.atomic():
        found = ReportSchedule.objects.select_for_update().filter(tenant=tenant, by=by, pk=schedule_id).first()
        if found is None:
            raise NotFound
        _record(found, "report.unscheduled", by, {"report": found.kind}, correlation_id)
        found.delete()


def schedules_of(tenant: UUID) -> list[ReportSchedule]:
    return list(ReportSchedule.objects.filter(tenant=tenant)[:MOST])


def ask_due() -> int:
    """Ask for what is due, a period each; return how many. One that was missed is made later, not left out."""
    now, count = database_time(), 0
    due = ReportSchedule.objects.filter(stopped_because="", next_at__lte=now - GRACE).order_by("next_at")[:20]
    for schedule in list(due):
        with transaction.atomic():
            mine = ReportSchedule.objects.filter(pk=schedule.pk, next_at=schedule.next_at, stopped_because="")
            if not still_audits(schedule.tenant, schedule.by):
                _stop(schedule, LAPSED)
                continue
            if not mine.update(next_at=after(schedule.every, schedule.next_at)):
                continue
            first, last = period_before(schedule.every, schedule.next_at)
            period = {"since": first.isoformat(), "until": last.isoformat()}
            ask_anyway(schedule, {**schedule.parameters, **period})
            count += 1
    return count


def ask_anyway(schedule: ReportSchedule, asked: Mapping[str, Any]) -> None:
    """Ask, unless five of that person's wait: then the period is asked for by the next look."""
    try:
        with transaction.atomic():
            ask(schedule.tenant, schedule.by, schedule.kind, schedule.format, asked, schedule=schedule)
    except Conflict:
        ReportSchedule.objects.filter(pk=schedule.pk).update(next_at=schedule.next_at)
    except Problem as gone:  # the environment, or the kind of report
        _stop(schedule, gone.detail[:120])


def _stop(schedule: ReportSchedule, because: str) -> None:
    if ReportSchedule.objects.filter(pk=schedule.pk, stopped_because="").update(stopped_because=because):
        _record(schedule, "report.schedule_stopped", "system:reports", {"because": because}, "")


def after(every: str, at: datetime) -> datetime:
    """The first beginning of a week (Monday), month or quarter after a moment."""
    day = at.astimezone(UTC).date()
    if every == "week":
        found = day + timedelta(days=7 - day.weekday())
    else:
        months = 1 if every == "month" else 3 - (day.month - 1) % 3
        month = day.month - 1 + months
        found = date(day.year + month // 12, month % 12 + 1, 1)
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def period_before(every: str, at: datetime) -> tuple[date, date]:
    """First and last day of the period that ended at `at`, a beginning of one."""
    last = at.astimezone(UTC).date() - timedelta(days=1)
    if every == "week":
        return last - timedelta(days=6), last
    months = 0 if every == "month" else 2
    return date(last.year, last.month - months, 1), last


def _record(
    found: ReportSchedule, verb: str, by: str, facts: dict[str, Any], correlation_id: str,
    private: dict[str, str] | None = None,
) -> None:  # fmt: skip
    outcome = "refused" if verb == "report.schedule_stopped" else "ok"
    record(Entry(found.tenant, Subject(KIND, found.pk), verb, by, outcome, correlation_id, facts, private or {}))


def _issue(field: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}


def described(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = ReportSchedule.objects.filter(tenant=tenant, pk__in=ids)
    return {
        it.pk: Subject(KIND, it.pk, f"Report {it.kind}, {it.get_every_display()}", "/audit/reports/") for it in found
    }


register_describer(KIND, described)
