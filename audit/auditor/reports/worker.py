"""Make reports in the background: CSV that no spreadsheet reads as formulas, JSON lines, PDF/A with the lines attached.

One report at a time, in memory that does not grow with it, with progress. The worker that claims a run writes its file
in
parts; each write is guarded by the claim, so that a worker that lost its lease changes nothing.
"""

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from django.db import transaction
from django.db.models import F, Q

from audit.auditor.reports.registry import Report, Row, build_scope, describe_parameters, find_report
from audit.auditor.reports.runs import WAITING, record_run_event
from audit.database.clock import database_time
from audit.log.subjects import actor_names
from audit.models.auditor import ReportMail, ReportPart, ReportRun
from audit.models.seals import SignedTreeHead
from audit.seals.tree import newest_head
from audit.ui.typesetting import Prepared, printable, render_pdf
from audit.web import may_still_audit

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection), in full width too."""
MAX_PRINTED_ROWS = 1_000
BREAK = "\u200b"
LONG, JOINED = re.compile(r"[0-9A-Za-z]{12,}"), re.compile(r"\S{20,}")
MAX_ATTACHED_BYTES = 8 * 1024 * 1024


@dataclass
class ReportHeader:
    """The header of a report: (label, text) in order, and when it was requested."""

    facts: list[tuple[str, str]]
    at: datetime


@dataclass
class RowCount:
    """How much went into a file, known once it is written. `is_whole`: nothing was left out."""

    looked_at: int = 0
    rows: int = 0
    is_whole: bool = True
    printed: list[Row] = field(default_factory=list)

    def words(self, report: Report) -> str:
        rows = "nothing" if not self.rows else f"{self.rows} row{'' if self.rows == 1 else 's'}"
        words = f"{rows} found in {self.looked_at} {report.looked_at} examined"
        return words if self.is_whole else f"{words}; the report stops here, request a shorter period"


def render_csv(report: Report, head: ReportHeader, rows: Iterable[Row], count: RowCount) -> Iterator[bytes]:
    """Lines that begin with # say what this is; then the names of the columns, the rows, and how many there were."""
    for name, words in head.facts:
        yield csv_line([f"# {name}", words])
    yield csv_line([column.title for column in report.columns])
    for row in rows:
        yield csv_line([row.get(column.name) for column in report.columns])
    yield csv_line(["# end", count.words(report)])


def render_jsonl(report: Report, head: ReportHeader, rows: Iterable[Row], count: RowCount) -> Iterator[bytes]:
    """A line about the report, one for each row, one about the end: without it, the file was cut off."""
    columns = [column.name for column in report.columns]
    yield _json({"report": report.kind, "format": "interlock.report/1", "columns": columns, **dict(head.facts)})
    for row in rows:
        yield _json({name: row.get(name) for name in columns})
    yield _json({"end": True, "rows": count.rows, "looked_at": count.looked_at, "is_whole": count.is_whole})


def render_pdf_report(report: Report, head: ReportHeader, rows: Iterable[Row], count: RowCount) -> bytes:
    """The first thousand rows set on paper; all of them attached as JSON lines, while they stay below 8 MiB."""
    printed: list[Row] = []

    def kept() -> Iterator[Row]:
        for row in rows:
            if len(printed) < MAX_PRINTED_ROWS:
                printed.append(row)
            yield row

    lines, size = [], 0
    for line in render_jsonl(report, head, kept(), count):
        size += len(line)
        if size <= MAX_ATTACHED_BYTES:
            lines.append(line)
    whole = size <= MAX_ATTACHED_BYTES
    attached = [(f"{report.kind}.jsonl", b"".join(lines), "application/x-ndjson")] if whole else []
    data = {
        "landscape": True,
        "title": report.title,
        "question": report.question,
        "facts": head.facts,
        "found": count.words(report),
        "shows": report.shows,
        "shows_not": report.shows_not,
        "controls": list(report.controls),
        "columns": [{"title": column.title, "share": column.share} for column in report.columns],
        "rows": [[_breakable(printed_text(row.get(column.name))) for column in report.columns] for row in printed],
        "more": count.rows - len(printed),
        "is_attached": whole,
    }
    return render_pdf("listing", data, attached, f"{report.title}", head.at)


def csv_line(cells: Sequence[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow([csv_cell(value) for value in cells])
    return out.getvalue().encode()


def csv_cell(value: Any) -> str | int | float:
    """A number stays one; a text that could be a formula gets an apostrophe before it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = printed_text(value).replace("\x00", "")
    return f"'{text}" if text.lstrip(" \n\ufeff").startswith(FORMULA) else text


def printed_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return "; ".join(printed_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _breakable(text: str) -> Prepared:
    """The text, printable, with places at which a narrow column may break it: after joints, and in what has none."""
    safe = JOINED.sub(lambda match: match[0].replace("-", "-" + BREAK), printable(text, words=False))
    parts = LONG.sub(lambda match: BREAK.join(match[0][n : n + 8] for n in range(0, len(match[0]), 8)), safe)
    return Prepared(parts.translate({ord(joint): joint + BREAK for joint in "_/"}))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=_plain, sort_keys=False).encode() + b"\n"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


# The worker that makes them.


log = structlog.get_logger(__name__)
ACTOR = "system:reports"
LEASE = timedelta(seconds=90)
MAX_ATTEMPTS = 3
MAX_ROWS = 100_000
PART_BYTES = 256 * 1024
PROGRESS_S = 1.0


class LeaseLost(Exception):
    """The run was cancelled, or another worker has it."""


def run_slice() -> bool:
    """Make the report that waited longest; False if none waits."""
    run = dequeue()
    if run is None:
        return False
    try:
        make_report(run)
    except LeaseLost:
        log.info("report_lease_lost", run=str(run.pk))
    except Exception as error:  # rows come from every floor; the run says what went wrong
        log.exception("report_failed", run=str(run.pk))
        fail_run(run, f"{type(error).__name__}: {error}"[:300])
    return True


def dequeue() -> ReportRun | None:
    """Take the run that waited longest, or one whose worker went silent; None if there is none."""
    now = database_time()
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    for pk in (
        ReportRun.objects.filter(free, status__in=WAITING).order_by("requested_at").values_list("pk", flat=True)[:5]
    ):
        mine = uuid4()
        taken = ReportRun.objects.filter(free, pk=pk, status__in=WAITING)
        if taken.update(claim=mine, claimed_until=now + LEASE, status="running", done=0, attempts=F("attempts") + 1):
            return ReportRun.objects.get(pk=pk)
    return None


def make_report(run: ReportRun) -> None:
    """Write the file, then the end of the run, its event and its mails in one transaction. Raises LeaseLost."""
    if run.attempts > MAX_ATTEMPTS:
        fail_run(run, "started three times; its worker was lost each time")
        return
    if not may_still_audit(run.tenant, run.by):
        fail_run(run, "its requester is no longer an auditor of the tenant")
        return
    report, count, head = find_report(run.kind), RowCount(), newest_head(run.tenant)
    ReportPart.objects.filter(run=run).delete()
    sha256, size = hashlib.sha256(), 0
    for n, part in enumerate(_parts(_pieces(run, report, count, head))):
        sha256.update(part)
        size += len(part)
        with transaction.atomic():
            _update(run, claimed_until=database_time() + LEASE)
            ReportPart.objects.create(run=run, n=n, data=part)
    _finish(run, count, head, sha256.hexdigest(), size)


def fail_run(run: ReportRun, words: str) -> None:
    with transaction.atomic():
        mine = ReportRun.objects.filter(pk=run.pk, claim=run.claim, status="running")
        if mine.update(status="failed", error=words[:300], claim=None, finished_at=database_time()):
            ReportPart.objects.filter(run=run).delete()
            record_run_event(run, "report.failed", ACTOR, {"report": run.kind}, "", "failed", {"message": words})


def build_header(run: ReportRun, report: Report, head: SignedTreeHead | None) -> ReportHeader:
    """The report's header: scope, time, requester, and the newest signed tree head."""
    names = actor_names(run.tenant, {run.by})
    sealed = (
        [
            ("sealed head", f"{head.size} entries, root {bytes(head.root).hex()}"),
            ("head of", f"{head.at:%Y-%m-%d %H:%M:%S} UTC, signed by key {head.key_id}"),
        ]
        if head
        else [("sealed head", "none yet: this log has no signed tree head")]
    )
    return ReportHeader(
        [
            ("report", report.title),
            ("scope", describe_parameters(run.tenant, run.parameters)),
            ("requested at", f"{run.requested_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("requested by", f"{names[run.by]} ({run.by})"),
            *sealed,
            ("run", str(run.pk)),
        ],
        run.requested_at,
    )


def _pieces(run: ReportRun, report: Report, count: RowCount, head: SignedTreeHead | None) -> Iterator[bytes]:
    rows, about = _rows(run, report, count), build_header(run, report, head)
    if run.format == "pdf":
        yield render_pdf_report(report, about, rows, count)
    else:
        yield from (render_csv if run.format == "csv" else render_jsonl)(report, about, rows, count)


def _rows(run: ReportRun, report: Report, count: RowCount) -> Iterator[Row]:
    """The report's rows, counted; stores the progress about once a second."""
    told = time.monotonic()
    for row in report.rows(build_scope(run.tenant, run.parameters)):
        if row is None:
            count.looked_at += 1
        elif count.rows == MAX_ROWS:
            count.is_whole = False
            break
        else:
            count.rows += 1
            yield row
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            _update(run, done=count.looked_at, claimed_until=database_time() + LEASE)


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


def _update(run: ReportRun, **values: Any) -> None:
    """Write to a run that is still ours. Raises LeaseLost."""
    if not ReportRun.objects.filter(pk=run.pk, claim=run.claim, status="running").update(**values):
        raise LeaseLost


def _finish(run: ReportRun, count: RowCount, head: SignedTreeHead | None, sha256: str, size: int) -> None:
    sealed = {"size": head.size, "root": bytes(head.root).hex(), "at": head.at.isoformat()} if head else {}
    with transaction.atomic():
        now = database_time()
        _update(
            run,
            status="done",
            finished_at=now,
            claim=None,
            done=count.looked_at,
            sha256=sha256,
            size=size,
            head=sealed,
            is_whole=count.is_whole,
        )
        facts = {
            "report": run.kind,
            "sha256": sha256,
            "size": size,
            "rows": count.rows,
            "looked_at": count.looked_at,
            "is_whole": count.is_whole,
            "head": sealed,
        }
        record_run_event(run, "report.made", ACTOR, facts)
        if run.schedule_id:
            _write_mails(run, now)


def _write_mails(run: ReportRun, now: Any) -> None:
    recipients: list[str] = run.schedule.recipients if run.schedule else []
    mails = [ReportMail(run=run, recipient=address, next_at=now) for address in recipients]
    ReportMail.objects.bulk_create(mails, ignore_conflicts=True)
