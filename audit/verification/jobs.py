"""Verifications that were requested: run in the background, a slice at a time.

A job says in its row where it stands, so a page shows its progress, and whatever happens to a worker, another goes on.
"""

from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models import Event
from audit.models.seals import Tree, Verification
from audit.verification.log import (
    VerificationResult,
    check_unsealed,
    read_external_heads,
    store_result,
    verified_size,
    verify_sealed_subject,
)
from audit.verification.log_verifier import LogVerifier
from audit.verify import Broken
from audit.verify.signatures import InvalidNote

ACTOR = "system:verifier"
SLICE_S = 3.0
LEASE_S = 120
MAX_FINISHED_JOBS = 50  # finished jobs of a tenant
DEPTHS = ("subject", "range", "new", "log")
"""A subject; entries `first` up to `upto`; what came since the last good verification; the whole log."""
COUNTS = ("events", "artifacts", "openings", "heads")


def request_verification(
    tenant: UUID,
    requested_by: str,
    depth: str,
    *,
    subject_id: UUID | None = None,
    first: int = 0,
    upto: int | None = None,
    head: str = "",
) -> Verification:
    """Request a verification. Raises Invalid for what cannot be verified, Conflict while another one runs."""
    _validate(tenant, depth, subject_id, first, upto, head)
    with transaction.atomic():
        size = _lock_tree(tenant)
        if Verification.objects.filter(tenant=tenant).exclude(status="done").exists():
            raise Conflict("A verification of this log is running. Wait until it is done; its progress is on the page.")
        old = Verification.objects.filter(tenant=tenant).order_by("-requested_at").values_list("pk", flat=True)
        Verification.objects.filter(pk__in=list(old[MAX_FINISHED_JOBS:])).delete()
        start = verified_size(tenant) if depth == "new" else first if depth == "range" else 0
        return Verification.objects.create(
            tenant=tenant,
            requested_by=requested_by,
            depth=depth,
            subject_id=subject_id,
            first=start,
            head=head,
            upto=upto if depth == "range" else None,
            is_full=depth == "log",
            position=start,
            requested_at=database_time(),
            total=min(upto, size) if upto is not None and depth == "range" else size,
        )


def find_job(tenant: UUID, job_id: UUID) -> Verification:
    """Raises NotFound for unknown and foreign ones alike."""
    found = Verification.objects.filter(tenant=tenant, pk=job_id).first()
    if found is None:
        raise NotFound
    return found


def run_slice(budget_s: float = SLICE_S) -> bool:
    """Take up one job that nobody has in hand, for a slice; whether something is left to do."""
    job = _dequeue()
    if job is None:
        return False
    until = monotonic() + budget_s
    try:
        is_done = _verify_slice(job, lambda: monotonic() > until)
    except Broken as broken:
        _end(job, broken)
        is_done = True
    if not is_done:
        mine = Verification.objects.filter(pk=job.pk, leased_until=job.leased_until)
        mine.update(position=job.position, state=job.state, leased_until=None)
    return not is_done or Verification.objects.exclude(status="done").exists()


def _validate(tenant: UUID, depth: str, subject_id: UUID | None, first: int, upto: int | None, head: str) -> None:
    if depth not in DEPTHS:
        raise Invalid(f"Verify one of {', '.join(DEPTHS)}.")
    if depth == "subject":
        if subject_id is None:
            raise Invalid("Enter the subject id.")
        if not Event.objects.filter(tenant=tenant, subject_id=subject_id).exists():
            raise NotFound
    if depth == "range" and (first < 0 or upto is None or upto <= first):
        raise Invalid("Give a range: from 0 or more, up to a larger number.")
    if head:
        try:
            foreign = any(head_.tenant != tenant for head_ in read_external_heads(head))
        except InvalidNote as bad:
            raise Invalid(
                f"This is not a tree head of this log: {bad}. Paste the whole note with its signature line."
            ) from bad
        if foreign:
            raise Invalid("Not a tree head of this log. Paste the whole note with its signature line.")


def _lock_tree(tenant: UUID) -> int:
    """Entries of the log; two that ask at once wait for one another here."""
    Tree.objects.bulk_create([Tree(tenant=tenant)], ignore_conflicts=True)
    tree = Tree.objects.filter(tenant=tenant)
    return (tree.select_for_update() if connection.features.has_select_for_update else tree).get().size


def _dequeue() -> Verification | None:
    with transaction.atomic():
        now = database_time()
        free = Verification.objects.exclude(status="done").filter(Q(leased_until=None) | Q(leased_until__lt=now))
        if connection.features.has_select_for_update:
            free = free.select_for_update(skip_locked=True)
        job = free.order_by("requested_at").first()
        if job is not None:
            job.status, job.leased_until = Verification.Status.RUNNING, now + timedelta(seconds=LEASE_S)
            job.save(update_fields=["status", "leased_until"])
        return job


def _verify_slice(job: Verification, is_enough: Callable[[], bool]) -> bool:
    if job.depth == "subject":
        report = verify_sealed_subject(job.tenant, job.subject_id or job.pk)
        if report.broken:
            raise report.broken
        job.report = {name: getattr(report, name) for name in ("events", "artifacts", "openings", "sealed")}
        _end(job, None)
        return True
    external_heads = [found.head for found in read_external_heads(job.head)] if job.head else []
    upto = job.upto if job.depth == "range" else None
    verifier = (
        LogVerifier.resume(job.tenant, job.state, upto, external_heads)
        if job.state
        else LogVerifier(job.tenant, job.first, upto, external_heads)
    )
    is_done = verifier.run(is_enough)
    if is_done and upto is None:
        check_unsealed(job.tenant, verifier.contents, after_entry=job.first)
    job.position, job.state = verifier.frontier.size, verifier.state()
    job.report = {name: job.state[name] for name in COUNTS}
    if is_done:
        _end(job, None)
    return is_done


def _end(job: Verification, broken: Broken | None) -> None:
    """Store the result: in the row, on the auditor's pages, and as the event `log.verified`."""
    with transaction.atomic():
        job.status, job.ended_at, job.leased_until, job.broken = "done", database_time(), None, str(broken or "")
        if broken:
            job.report = {**job.report, "kind": broken.kind, "item": broken.item, "detail": broken.detail}
        fields = ["status", "ended_at", "leased_until", "broken", "report", "position", "state"]
        job.save(update_fields=fields)
        if broken or job.depth in ("new", "log"):
            store_result(job.tenant, VerificationResult(size=job.position, broken=broken))
        facts: dict[str, Any] = {"depth": job.depth, "first": job.first, "size": job.position}
        facts |= {name: job.report[name] for name in (*COUNTS, "kind") if name in job.report}
        outcome = "failed" if broken else "ok"
        about = Subject("verification", job.pk)
        record(NewEvent(job.tenant, about, "log.verified", job.requested_by, outcome=outcome, facts=facts))
