"""Mail the reports of schedules. A mail is written with the run's end, claimed before it is sent, and tried again."""

from collections import Counter
from datetime import timedelta

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q

from audit.clock import database_time
from audit.models import ReportMail, ReportRun
from audit.reports.parameters import in_words
from audit.reports.registry import report_of
from audit.reports.runs import file_name, file_of, leave_event
from audit.reports.work import BY
from audit.reports.writing import MEDIA_TYPES

log = structlog.get_logger(__name__)
CLAIM_S, MOST_TRIES, FIRST_PAUSE_S = 120, 6, 20
MOST_ATTACHED_BYTES = 8 * 1024 * 1024


class NotSent(Exception):
    """The mail server did not take it."""


def send_due(limit: int = 20) -> int:
    """Send some of what is due; return how many mails were tried."""
    claimed = _claim(limit)
    done: Counter[tuple[ReportRun, str]] = Counter()
    for mail in claimed:
        done[mail.run, _tried(mail)] += 1
    for (run, status), count in done.items():
        if status != ReportMail.Status.DUE:
            verb = "report.mailed" if status == "sent" else "report.mail_failed"
            with transaction.atomic():
                leave_event(run, verb, BY, {"recipients": count}, "", "ok" if status == "sent" else "failed")
    return len(claimed)


def _claim(limit: int) -> list[ReportMail]:
    with transaction.atomic():
        now = database_time()
        free = Q(claimed_until=None) | Q(claimed_until__lt=now)
        due = ReportMail.objects.filter(free, status="due", next_at__lte=now)
        locked = due.select_for_update(skip_locked=True, of=("self",))
        found = list(locked.select_related("run").order_by("next_at")[:limit])
        until = now + timedelta(seconds=CLAIM_S)
        ReportMail.objects.filter(pk__in=[mail.pk for mail in found]).update(claimed_until=until)
    return found


def _tried(mail: ReportMail) -> str:
    """Try one mail and write down what came of it; return its status."""
    now, attempts = database_time(), mail.attempts + 1
    try:
        if message_of(mail).send() != 1:
            raise NotSent("the mail server took none")
    except Exception as error:  # servers fail in every way; the mail says how
        words = f"{type(error).__name__}: {error}"[:300]
        log.warning("report_not_mailed", run=str(mail.run_id), attempt=attempts, error=words)
        status = "failed" if attempts >= MOST_TRIES else "due"
        pause = timedelta(seconds=FIRST_PAUSE_S * 3 ** (attempts - 1))
        kept = {"status": status, "error": words, "next_at": now + pause}
    else:
        status = "sent"
        kept = {"status": status, "error": "", "sent_at": now}
    ReportMail.objects.filter(pk=mail.pk).update(attempts=attempts, claimed_until=None, **kept)
    return status


def message_of(mail: ReportMail) -> EmailMessage:
    """The mail with the file attached; a larger one than 8 MiB only by its address."""
    run = mail.run
    title, about = report_of(run.kind).title, in_words(run.tenant, run.parameters)
    attached = run.size <= MOST_ATTACHED_BYTES
    lines = [
        f"{title}: {about}.",
        "",
        "The report is attached." if attached else "The report is too large for a mail.",
        f"It is kept at {settings.INTERLOCK.address}/audit/reports/runs/{run.pk}/",
        "",
        f"SHA-256 of the file: {run.sha256}",
        "The audit log holds the same digest, in the event `report.made`.",
    ]
    message = EmailMessage(
        " ".join(f"[Interlock] {title}: {about}".split()), "\n".join(lines), settings.DEFAULT_FROM_EMAIL,
        [mail.recipient],
    )  # fmt: skip
    if attached:
        message.attach(file_name(run), b"".join(file_of(run)), MEDIA_TYPES[run.format].split(";")[0])
    return message
