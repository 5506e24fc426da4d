"""Scheduled reports: requested for each period that has ended, and mailed."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q

from audit.auditor.reports.registry import MEDIA_TYPES, check_parameters, describe_parameters, find_report
from audit.auditor.reports.runs import file_name, read_file, record_run_event, request_report
from audit.auditor.reports.worker import ACTOR
from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound, Problem
from audit.log.events import NewEvent, Subject, record
from audit.log.subjects import register_describer
from audit.models.auditor import ReportMail, ReportRun, ReportSchedule
from audit.web import may_still_audit

KIND = "report_schedule"
GRACE = timedelta(minutes=10)
"""After a period's end: by then its last events are sealed and indexed."""
MAX_SCHEDULES, MAX_RECIPIENTS = 50, 20
ADDRESS = re.compile(r"[^@\s<>,;\"\x00-\x1f]+@[^@\s<>,;\"\x00-\x1f]+\.[^@\s<>,;\"\x00-\x1f]+")
LAPSED = "its creator is no longer an auditor of the tenant"


def create(
    tenant: UUID,
    by: str,
    kind: str,
    form: str,
    every: str,
    recipients: list[str],
    values: Mapping[str, Any],
    *,
    correlation_id: str = "",
) -> ReportSchedule:
    """Make a report for each period from the one under way on. Event `report.scheduled`. Raises NotFound, Invalid."""
    report, issues = find_report(kind), []
    addresses = list(dict.fromkeys(address.strip() for address in recipients if address.strip()))
    if every not in ReportSchedule.Every.values:
        issues.append(_issue("every", "A report is made every week, month or quarter."))
    if form not in MEDIA_TYPES:
        issues.append(_issue("format", f"A report is made as {', '.join(MEDIA_TYPES)}."))
    if len(addresses) > MAX_RECIPIENTS:
        issues.append(_issue("recipients", f"{MAX_RECIPIENTS} addresses at most."))
    wrong = [a for a in addresses if not ADDRESS.fullmatch(a) or len(a) > 254]
    issues += [_issue("recipients", f"{a[:60]!r} is not a mail address.") for a in wrong[:3]]
    if issues:
        raise Invalid(issues[0]["message"], issues=issues)
    parameters = {
        k: v
        for k, v in check_parameters(tenant, report, {"environment": values.get("environment")}).items()
        if k == "environment"
    }
    if ReportSchedule.objects.filter(tenant=tenant).count() >= MAX_SCHEDULES:
        raise Conflict(f"This tenant has {MAX_SCHEDULES} schedules. Delete one first.")
    with transaction.atomic():
        made = ReportSchedule.objects.create(
            tenant=tenant,
            by=by,
            kind=kind,
            format=form,
            every=every,
            recipients=addresses,
            parameters=parameters,
            next_at=next_period_start(every, database_time()),
        )
        facts = {"report": kind, "format": form, "every": every, "recipients": len(addresses), "parameters": parameters}
        _record_event(made, "report.scheduled", by, facts, correlation_id, {"addresses": ", ".join(addresses)})
    return made


def delete(tenant: UUID, by: str, schedule_id: UUID, *, correlation_id: str = "") -> None:
    """End one's own schedule; its runs stay. Event `report.unscheduled`. Raises NotFound."""
    with transaction.atomic():
        found = ReportSchedule.objects.select_for_update().filter(tenant=tenant, by=by, pk=schedule_id).first()
        if found is None:
            raise NotFound
        _record_event(found, "report.unscheduled", by, {"report": found.kind}, correlation_id)
        found.delete()


def list_schedules(tenant: UUID) -> list[ReportSchedule]:
    return list(ReportSchedule.objects.filter(tenant=tenant)[:MAX_SCHEDULES])


def request_due() -> int:
    """Request what is due, one period each; return how many. A missed period is requested later, not skipped."""
    now, count = database_time(), 0
    due = ReportSchedule.objects.filter(stopped_because="", next_at__lte=now - GRACE).order_by("next_at")[:20]
    for schedule in list(due):
        with transaction.atomic():
            mine = ReportSchedule.objects.filter(pk=schedule.pk, next_at=schedule.next_at, stopped_because="")
            if not may_still_audit(schedule.tenant, schedule.by):
                _stop(schedule, LAPSED)
                continue
            if not mine.update(next_at=next_period_start(schedule.every, schedule.next_at)):
                continue
            first, last = period_ending_at(schedule.every, schedule.next_at)
            period = {"since": first.isoformat(), "until": last.isoformat()}
            request_or_defer(schedule, {**schedule.parameters, **period})
            count += 1
    return count


def request_or_defer(schedule: ReportSchedule, values: Mapping[str, Any]) -> None:
    """Request a report, unless five of that person's wait; then the next look requests it."""
    try:
        with transaction.atomic():
            request_report(schedule.tenant, schedule.by, schedule.kind, schedule.format, values, schedule=schedule)
    except Conflict:
        ReportSchedule.objects.filter(pk=schedule.pk).update(next_at=schedule.next_at)
    except Problem as gone:  # the environment, or the kind of report
        _stop(schedule, gone.detail[:120])


def _stop(schedule: ReportSchedule, because: str) -> None:
    if ReportSchedule.objects.filter(pk=schedule.pk, stopped_because="").update(stopped_because=because):
        _record_event(schedule, "report.schedule_stopped", "system:reports", {"because": because}, "")


def next_period_start(every: str, at: datetime) -> datetime:
    """The first beginning of a week (Monday), month or quarter after a moment."""
    day = at.astimezone(UTC).date()
    if every == "week":
        found = day + timedelta(days=7 - day.weekday())
    else:
        months = 1 if every == "month" else 3 - (day.month - 1) % 3
        month = day.month - 1 + months
        found = date(day.year + month // 12, month % 12 + 1, 1)
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def period_ending_at(every: str, at: datetime) -> tuple[date, date]:
    """First and last day of the period that ended at `at`, a beginning of one."""
    last = at.astimezone(UTC).date() - timedelta(days=1)
    if every == "week":
        return last - timedelta(days=6), last
    months = 0 if every == "month" else 2
    return date(last.year, last.month - months, 1), last


def _record_event(
    found: ReportSchedule,
    verb: str,
    by: str,
    facts: dict[str, Any],
    correlation_id: str,
    private: dict[str, str] | None = None,
) -> None:
    outcome = "refused" if verb == "report.schedule_stopped" else "ok"
    record(NewEvent(found.tenant, Subject(KIND, found.pk), verb, by, outcome, correlation_id, facts, private or {}))


def _issue(field: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}


def describe_schedules(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = ReportSchedule.objects.filter(tenant=tenant, pk__in=ids)
    return {
        it.pk: Subject(KIND, it.pk, f"Report {it.kind}, {it.get_every_display()}", "/audit/reports/") for it in found
    }


register_describer(KIND, describe_schedules)


# Mail the reports of schedules. A mail is written with the run's end, claimed before it is sent, and tried again.


log = structlog.get_logger(__name__)
LEASE_S, MAX_MAIL_ATTEMPTS, FIRST_RETRY_S = 120, 6, 20
MAX_ATTACHED_BYTES = 8 * 1024 * 1024


class MailNotSent(Exception):
    """The mail server did not accept it."""


def send_due_mails(limit: int = 20) -> int:
    """Send some of what is due; return how many mails were tried."""
    claimed = _dequeue_mails(limit)
    done: Counter[tuple[ReportRun, str]] = Counter()
    for mail in claimed:
        done[mail.run, _send_mail(mail)] += 1
    for (run, status), count in done.items():
        if status != ReportMail.Status.DUE:
            verb = "report.mailed" if status == "sent" else "report.mail_failed"
            with transaction.atomic():
                record_run_event(run, verb, ACTOR, {"recipients": count}, "", "ok" if status == "sent" else "failed")
    return len(claimed)


def _dequeue_mails(limit: int) -> list[ReportMail]:
    with transaction.atomic():
        now = database_time()
        free = Q(claimed_until=None) | Q(claimed_until__lt=now)
        due = ReportMail.objects.filter(free, status="due", next_at__lte=now)
        locked = due.select_for_update(skip_locked=True, of=("self",))
        found = list(locked.select_related("run").order_by("next_at")[:limit])
        until = now + timedelta(seconds=LEASE_S)
        ReportMail.objects.filter(pk__in=[mail.pk for mail in found]).update(claimed_until=until)
    return found


def _send_mail(mail: ReportMail) -> str:
    """Try one mail and store the outcome; return its status."""
    now, attempts = database_time(), mail.attempts + 1
    try:
        if build_message(mail).send() != 1:
            raise MailNotSent("the mail server accepted no recipient")
    except Exception as error:  # servers fail in every way; the mail says how
        words = f"{type(error).__name__}: {error}"[:300]
        log.warning("report_mail_failed", run=str(mail.run_id), attempt=attempts, error=words)
        status = "failed" if attempts >= MAX_MAIL_ATTEMPTS else "due"
        pause = timedelta(seconds=FIRST_RETRY_S * 3 ** (attempts - 1))
        values = {"status": status, "error": words, "next_at": now + pause}
    else:
        status = "sent"
        values = {"status": status, "error": "", "sent_at": now}
    ReportMail.objects.filter(pk=mail.pk).update(attempts=attempts, claimed_until=None, **values)
    return status


def build_message(mail: ReportMail) -> EmailMessage:
    """The mail with the file attached; a larger one than 8 MiB only by its address."""
    run = mail.run
    title, about = find_report(run.kind).title, describe_parameters(run.tenant, run.parameters)
    attached = run.size <= MAX_ATTACHED_BYTES
    lines = [
        f"{title}: {about}.",
        "",
        "The report is attached." if attached else "The report is too large for a mail.",
        f"Download it at {settings.INTERLOCK.address}/audit/reports/runs/{run.pk}/",
        "",
        f"SHA-256 of the file: {run.sha256}",
        "The audit log contains the same digest in the event `report.made`.",
    ]
    message = EmailMessage(
        " ".join(f"[Interlock] {title}: {about}".split()),
        "\n".join(lines),
        settings.DEFAULT_FROM_EMAIL,
        [mail.recipient],
    )
    if attached:
        message.attach(file_name(run), b"".join(read_file(run)), MEDIA_TYPES[run.format].split(";")[0])
    return message
