"""Thin Celery tasks of the ground floor; what waits is in the database."""

from time import monotonic

from celery import shared_task

from audit.evidence.jobs import carry_on as build_pack
from audit.explore.indexer import BATCH, carry_on
from audit.reports.mailing import send_due
from audit.reports.schedules import ask_due
from audit.reports.work import carry_on as make_report
from audit.seals.jobs import carry_on as verify_on
from audit.seals.sealer import seal_all
from audit.seals.shipping import ship as ship_heads
from audit.streams.delivery import deliver

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
def ship() -> None:
    """Send signed heads to a few of the places that should have them. Harmless to repeat, and beside itself."""
    ship_heads(HEADS_AT_ONCE)


@shared_task(ignore_result=True)
def verify() -> None:
    """A slice of a verification that somebody asked for, then the next one by a message of its own."""
    if verify_on():
        verify.delay()


@shared_task(ignore_result=True)
def stream() -> None:
    """Send what is sealed on to a few streams. Runs every few seconds; harmless to repeat, and beside itself."""
    deliver(STREAMS_AT_ONCE)


@shared_task(ignore_result=True)
def index() -> None:
    """Bring the explorer's index up to the log, a slice at a time. Runs every few seconds; harmless to repeat."""
    if carry_on() >= BATCH:
        index.delay()


@shared_task(ignore_result=True)
def reports() -> None:
    """Ask for what is due, make a report, mail what was made; then the next one by a message of its own."""
    ask_due()
    is_more = make_report()
    while send_due() >= 20:
        pass
    if is_more:
        reports.delay()


@shared_task(ignore_result=True)
def packs() -> None:
    """Build a pack that somebody waits for; then the next one by a message of its own."""
    if build_pack():
        packs.delay()
