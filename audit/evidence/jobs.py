"""Packs built in the background: requested, built by a worker with progress, kept for a day, downloaded in pieces.

Whoever claims a job holds it by its `lease`; every write is guarded by that, so a worker that was taken for dead stores
nothing more. A job whose worker went silent is begun anew, three times at most.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from time import monotonic
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q

from audit.database.clock import database_time
from audit.database.statements import insert_rows
from audit.errors import Conflict, NotFound, Problem
from audit.evidence.collect import Progress
from audit.evidence.contents import redaction_for
from audit.evidence.pack import Pack, PackRequest, plan_pack
from audit.jobs.wakeup import wake_up
from audit.log.events import NewEvent, Subject, record
from audit.models.auditor import PackChunk, PackJob

log = structlog.get_logger(__name__)
TASK = "audit.tasks.packs"
ACTOR = "system:packs"
State = PackJob.State
OPEN_STATES = (State.WAITING, State.BUILDING)
LEASE = timedelta(seconds=60)
KEEP_FOR = timedelta(hours=24)
MAX_ATTEMPTS = 3
MAX_OPEN = 5  # of one person at a time
CHUNK_BYTES = 1 << 20
PROGRESS_S = 0.5


class LeaseLost(Exception):
    """Another worker has the job, or it was deleted."""


def request_pack(
    tenant: UUID, subject: Subject, audience: str, form: str, by: str, correlation_id: str = ""
) -> PackJob:
    """Request a pack (`form` zip) or its report (pdf); leaves an event, wakes a worker.

    Who waits for just that already gets the same job.
    Raises NotFound for an unknown audience, Conflict when this person already waits for five.
    """
    redaction_for(tenant, audience)
    same = {"tenant": tenant, "subject_id": subject.id, "audience": audience, "form": form, "requested_by": by}
    if waiting := PackJob.objects.filter(**same, state__in=OPEN_STATES).first():
        return waiting
    with transaction.atomic():
        if PackJob.objects.filter(tenant=tenant, requested_by=by, state__in=OPEN_STATES).count() >= MAX_OPEN:
            raise Conflict(
                f"You are already waiting for {MAX_OPEN} packs.", remedies=["Wait until one of them is ready."]
            )
        job = PackJob.objects.create(**same, subject_kind=subject.kind, requested_at=database_time())
        _record_event(job, "evidence.requested", by, correlation_id)
        wake_up(TASK)
    return job


def find_job(tenant: UUID, subject_id: UUID, job_id: UUID) -> PackJob:
    """Raises NotFound; whether the caller may see the subject was asked before."""
    found = PackJob.objects.filter(tenant=tenant, subject_id=subject_id, pk=job_id).first()
    if found is None:
        raise NotFound
    return found


def newest_jobs(tenant: UUID, subject_id: UUID) -> list[PackJob]:
    """The newest ten."""
    return list(PackJob.objects.filter(tenant=tenant, subject_id=subject_id).order_by("-requested_at")[:10])


def run_slice() -> bool:
    """Build the pack that waited longest; False if none waits. Forgets what is older than a day."""
    now = database_time()
    for old in PackJob.objects.filter(requested_at__lt=now - KEEP_FOR)[:20]:
        old.delete()
    job = _dequeue()
    if job is None:
        return False
    try:
        _build(job)
    except LeaseLost:
        log.info("pack_lease_lost", job=str(job.pk))
    except Problem as problem:
        _fail(job, problem.detail)
    except Exception as error:  # what others contribute may fail in any way; the job says what went wrong
        log.exception("pack_failed", job=str(job.pk))
        _fail(job, f"{type(error).__name__}: {error}"[:300])
    return True


def read_content(job: PackJob, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from `start` up to `stop` of what was built, a query for each MiB."""
    for n in range(start // CHUNK_BYTES, -(-stop // CHUNK_BYTES)):
        data = bytes(PackChunk.objects.filter(job=job, n=n).values_list("data", flat=True).get())
        at = n * CHUNK_BYTES
        yield data[max(0, start - at) : stop - at]


def _dequeue() -> PackJob | None:
    now = database_time()
    silent = Q(state=State.BUILDING, seen_at__lt=now - LEASE)
    free = PackJob.objects.filter(Q(state=State.WAITING) | silent)
    for pk, lease in free.order_by("requested_at").values_list("pk", "lease")[:5]:
        taken = free.filter(pk=pk, lease=lease).update(state=State.BUILDING, lease=F("lease") + 1, seen_at=now, done=0)
        if taken:
            return PackJob.objects.get(pk=pk)
    return None


def _build(job: PackJob) -> None:
    if job.lease > MAX_ATTEMPTS:
        _fail(job, "Started three times; its worker was lost each time.")
        return
    told = monotonic()

    def report(doing: str, done: int, total: int) -> None:
        nonlocal told
        if total == 0 or monotonic() - told >= PROGRESS_S:
            _update(job, doing=doing, done=done, total=total)
            told = monotonic()

    subject = Subject(job.subject_kind, job.subject_id)
    pack_request = PackRequest(redaction=redaction_for(job.tenant, job.audience))
    pack = plan_pack(job.tenant, subject, pack_request, Progress(report))
    PackChunk.objects.filter(job=job).delete()
    size, sha256 = 0, hashlib.sha256()
    total = pack_size(pack, job.form)
    for n, chunk in enumerate(_chunks(pack_pieces(pack, job.form))):
        size += len(chunk)
        sha256.update(chunk)
        insert_rows(
            PackChunk, ("job_id", "n", "data"), [(job.pk, n, chunk)]
        )  # bound by the server: see audit.database.statements
        report("writing", size, total)
    with transaction.atomic():
        _update(job, state=State.READY, size=size, sha256=sha256.hexdigest(), done=size, total=size, doing="")
        _record_event(job, "evidence.built", ACTOR, "", sha256=sha256.hexdigest(), size=size)


def pack_pieces(pack: Pack, form: str) -> Iterable[bytes]:
    return pack.file("report.pdf").pieces() if form == "pdf" else pack


def pack_size(pack: Pack, form: str) -> int:
    return pack.file("report.pdf").size if form == "pdf" else pack.size


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    yield bytes(held)


def _update(job: PackJob, **values: object) -> None:
    mine = PackJob.objects.filter(pk=job.pk, lease=job.lease, state=State.BUILDING)
    if not mine.update(seen_at=database_time(), **values):
        raise LeaseLost


def _fail(job: PackJob, why: str) -> None:
    with transaction.atomic():
        mine = PackJob.objects.filter(pk=job.pk, lease=job.lease, state=State.BUILDING)
        if mine.update(state=State.FAILED, why=why[:1000], doing=""):
            PackChunk.objects.filter(job=job).delete()
            _record_event(job, "evidence.failed", ACTOR, "", outcome="failed")


def _record_event(
    job: PackJob, verb: str, by: str, correlation_id: str, outcome: str = "ok", **facts: str | int
) -> None:
    """On the job's own chain: on its subject's, every export would change what the next one holds."""
    about = {"of": str(job.subject_id), "kind": job.subject_kind, "audience": job.audience, "form": job.form}
    subject = Subject("evidence_pack", job.pk)
    record(NewEvent(job.tenant, subject, verb, by, outcome, correlation_id, {**about, **facts}))


# Packs that were built and wait to be fetched, for who erases a person's words: nobody knows whose are in them.


def erase_packs(tenant: UUID, person: UUID) -> int:
    """Drop all built packs of the tenant; who still needs one requests it again. A running build stores nothing."""
    return PackJob.objects.filter(tenant=tenant).delete()[1].get("audit.PackJob", 0)
