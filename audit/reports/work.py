"""
Making reports, in the background: one at a time, in memory that does not grow with them, with progress.

Whoever claims a run writes its file in parts and tells how far it is; each such write is guarded by the claim, so that
a worker that was taken for dead writes nothing more. A run whose worker died is begun anew, three times at most.
"""

import hashlib
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog
from django.db import transaction
from django.db.models import F, Q

from audit.access import still_audits
from audit.clock import database_time
from audit.models import ReportMail, ReportPart, ReportRun
from audit.reports.parameters import in_words, wanted
from audit.reports.registry import Report, Row, report_of
from audit.reports.runs import WAITING, leave_event
from audit.reports.writing import Count, Head, csv_file, jsonl_file, pdf_file
from audit.seals.models import Checkpoint
from audit.seals.proofs import newest
from audit.subjects import names_of_actors

log = structlog.get_logger(__name__)
BY = "system:reports"
CLAIM = timedelta(seconds=90)
MOST_TRIES = 3
MOST_ROWS = 100_000
PART_BYTES = 256 * 1024
TELL_S = 1.0


class Lost(Exception):
    """The run was cancelled, or another worker has it."""


def carry_on() -> bool:
    """Make the report that waited longest; False if none waits."""
    run = claim()
    if run is None:
        return False
    try:
        make(run)
    except Lost:
        log.info("report_given_up", run=str(run.pk))
    except Exception as error:  # rows come from every floor; the run says what went wrong
        log.exception("report_failed", run=str(run.pk))
        fail(run, f"{type(error).__name__}: {error}"[:300])
    return True


def claim() -> ReportRun | None:
    """Take the run that waited longest, or one whose worker went silent; None if there is none."""
    now = database_time()
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    for pk in ReportRun.objects.filter(free, status__in=WAITING).order_by("asked_at").values_list("pk", flat=True)[:5]:
        mine = uuid4()
        taken = ReportRun.objects.filter(free, pk=pk, status__in=WAITING)
        if taken.update(claim=mine, claimed_until=now + CLAIM, status="running", done=0, attempts=F("attempts") + 1):
            return ReportRun.objects.get(pk=pk)
    return None


def make(run: ReportRun) -> None:
    """Write the file, then the end of the run, its event and its mails in one transaction. Raises Lost."""
    if run.attempts > MOST_TRIES:
        fail(run, "it was begun three times, and its worker was lost each time")
        return
    if not still_audits(run.tenant, run.by):
        fail(run, "whoever asked for it may no longer audit the tenant")
        return
    report, count, head = report_of(run.kind), Count(), newest(run.tenant)
    ReportPart.objects.filter(run=run).delete()
    sha256, size = hashlib.sha256(), 0
    for n, part in enumerate(_parts(_pieces(run, report, count, head))):
        sha256.update(part)
        size += len(part)
        with transaction.atomic():
            _keep(run, claimed_until=database_time() + CLAIM)
            ReportPart.objects.create(run=run, n=n, data=part)
    _end(run, count, head, sha256.hexdigest(), size)


def fail(run: ReportRun, words: str) -> None:
    with transaction.atomic():
        mine = ReportRun.objects.filter(pk=run.pk, claim=run.claim, status="running")
        if mine.update(status="failed", error=words[:300], claim=None, finished_at=database_time()):
            ReportPart.objects.filter(run=run).delete()
            leave_event(run, "report.failed", BY, {"report": run.kind}, "", "failed", {"message": words})


def head_of(run: ReportRun, report: Report, head: Checkpoint | None) -> Head:
    """What the report says about itself: asked what, when, by whom, and the sealed head there was by then."""
    names = names_of_actors(run.tenant, {run.by})
    sealed = (
        [
            ("sealed head", f"{head.size} entries, root {bytes(head.root).hex()}"),
            ("head of", f"{head.at:%Y-%m-%d %H:%M:%S} UTC, signed by key {head.key_id}"),
        ]
        if head
        else [("sealed head", "none yet: nothing of this tenant's log is sealed")]
    )
    return Head(
        [
            ("report", report.title),
            ("asked for", in_words(run.tenant, run.parameters)),
            ("asked at", f"{run.asked_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("asked by", f"{names[run.by]} ({run.by})"),
            *sealed,
            ("run", str(run.pk)),
        ],
        run.asked_at,
    )


def _pieces(run: ReportRun, report: Report, count: Count, head: Checkpoint | None) -> Iterator[bytes]:
    rows, about = _rows(run, report, count), head_of(run, report, head)
    if run.format == "pdf":
        yield pdf_file(report, about, rows, count)
    else:
        yield from (csv_file if run.format == "csv" else jsonl_file)(report, about, rows, count)


def _rows(run: ReportRun, report: Report, count: Count) -> Iterator[Row]:
    """The report's rows, counted; tells how far it is about once a second."""
    told = time.monotonic()
    for row in report.rows(wanted(run.tenant, run.parameters)):
        if row is None:
            count.looked_at += 1
        elif count.rows == MOST_ROWS:
            count.is_whole = False
            break
        else:
            count.rows += 1
            yield row
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            _keep(run, done=count.looked_at, claimed_until=database_time() + CLAIM)


def _parts(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, in parts of 256 KiB."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)


def _keep(run: ReportRun, **values: Any) -> None:
    """Write to a run that is still ours. Raises Lost."""
    if not ReportRun.objects.filter(pk=run.pk, claim=run.claim, status="running").update(**values):
        raise Lost


def _end(run: ReportRun, count: Count, head: Checkpoint | None, sha256: str, size: int) -> None:
    sealed = {"size": head.size, "root": bytes(head.root).hex(), "at": head.at.isoformat()} if head else {}
    with transaction.atomic():
        now = database_time()
        _keep(
            run, status="done", finished_at=now, claim=None, done=count.looked_at, sha256=sha256, size=size,
            head=sealed, is_whole=count.is_whole,
        )  # fmt: skip
        facts = {
            "report": run.kind, "sha256": sha256, "size": size, "rows": count.rows, "looked_at": count.looked_at,
            "is_whole": count.is_whole, "head": sealed,
        }  # fmt: skip
        leave_event(run, "report.made", BY, facts)
        if run.schedule_id:
            _write_mails(run, now)


def _write_mails(run: ReportRun, now: Any) -> None:
    recipients: list[str] = run.schedule.recipients if run.schedule else []
    mails = [ReportMail(run=run, recipient=address, next_at=now) for address in recipients]
    ReportMail.objects.bulk_create(mails, ignore_conflicts=True)
