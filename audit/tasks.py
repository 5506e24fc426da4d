"""Thin Celery tasks of the ground floor; what waits is in the database."""

from time import monotonic

from celery import shared_task

from audit.auditor.explore.index import BATCH, run_slice
from audit.auditor.reports.schedules import request_due, send_due_mails
from audit.auditor.reports.worker import run_slice as make_report
from audit.auditor.streams.delivery import deliver_due
from audit.evidence.jobs import run_slice as build_pack
from audit.seals.publish_heads import publish_due
from audit.seals.sealer import seal_all
from audit.verification.jobs import run_slice as verify_slice

HEADS_AT_ONCE = 3
SEALING_S = 2.0  # for one message: others of its queue must not wait long
STREAMS_AT_ONCE = 3  # a receiver that answers slowly takes its time from everything else in the background


@shared_task(ignore_result=True)
def seal() -> None:
    """Seal what was committed. Runs every few seconds; harmless to repeat, and beside itself."""
    until = monotonic() + SEALING_S
    if seal_all(lambda: monotonic() > until).is_more:
        seal.delay()


@shared_task(ignore_result=True)
def publish_heads() -> None:
    """Send signed heads to a few of their targets. Harmless to repeat, and beside itself."""
    publish_due(HEADS_AT_ONCE)


@shared_task(ignore_result=True)
def verify() -> None:
    """A slice of a verification that was requested, then the next one by a message of its own."""
    if verify_slice():
        verify.delay()


@shared_task(ignore_result=True)
def stream() -> None:
    """Send signed events to a few streams. Runs every few seconds; harmless to repeat, and beside itself."""
    deliver_due(STREAMS_AT_ONCE)


@shared_task(ignore_result=True)
def index() -> None:
    """Bring the explorer's index up to the log, a slice at a time. Runs every few seconds; harmless to repeat."""
    if run_slice() >= BATCH:
        index.delay()


@shared_task(ignore_result=True)
def reports() -> None:
    """Request what is due, make a report, mail what was made; then the next one by a message of its own."""
    request_due()
    is_more = make_report()
    while send_due_mails() >= 20:
        pass
    if is_more:
        reports.delay()


@shared_task(ignore_result=True)
def packs() -> None:
    """Build a pack that was requested; then the next one by a message of its own."""
    if build_pack():
        packs.delay()
