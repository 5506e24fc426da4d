"""
The sweep: what no message repaired. Runs every few seconds; every part is set-based and harmless when run twice.

Ends leases that were not renewed and frees what they held, with the reason; expires requests and approvals that came
too late; lets one action through each breaker whose time is over; proposes what failed actions fall back to; wakes
queues in which work waits; forgets old idempotency keys, and live lines whose attempt has ended.
"""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from actions.handoff.work import waits as handoff_waits
from actions.lifecycle import Note, Write, advance, write
from actions.models import Action, IdempotencyKey, Lease
from actions.rehearsal.work import waiting as backtests_wait
from actions.run.breakers import let_one_through
from actions.run.budget import forget_full
from actions.run.claim import STATES, waits
from actions.run.fallback import propose_due
from actions.scheduling.routes import living, tell
from actions.scheduling.scope import ANY
from actions.scheduling.switch import repair
from actions.transcripts import forget_ended
from approvals.requests.lifecycle import expire_due, void_open

BY = "system:sweep"
BATCH = 200
KEYS_KEPT = timedelta(days=7)


def sweep_all(nudge: Callable[..., None]) -> None:
    free_lost()
    expire()
    repair()
    let_one_through(nudge)
    propose_due()
    forget_full()
    forget_ended()
    for queue in waiting():
        nudge(queue)
    if backtests_wait():
        nudge("background")
    if handoff_waits():
        nudge("handoff")
    IdempotencyKey.objects.filter(created_at__lt=Now() - KEYS_KEPT).delete()


def free_lost() -> int:
    """End expired leases and let go of their actions, each with an event that says why; return how many were freed."""
    freed = 0
    with transaction.atomic():
        late = Lease.objects.select_for_update(skip_locked=True).filter(ended_at=None, expires_at__lt=Now())
        ids = list(late.values_list("pk", flat=True))
        Lease.objects.filter(pk__in=ids).update(ended_at=Now(), ended_why="not renewed in time")
    while True:
        with transaction.atomic():
            ended = Action.objects.select_for_update(skip_locked=True, of=("self",)).filter(
                lease__ended_at__isnull=False
            )
            held = list(ended.select_related("lease").order_by("pk")[:BATCH])
            writes = [_freed(a) for a in held]
            moved = len(write(writes)) if writes else 0
        freed += moved
        if moved < BATCH:
            return freed


def _freed(action: Action) -> Write:
    facts = {"lease": action.lease_id, "why": action.lease.ended_why if action.lease else ""}
    return Write(action, by=BY, notes=[Note("lease.lost", facts)], lease=action.lease_id, release=True)


def expire() -> int:
    """Expire requests past their time together with their actions, and approvals that were never started."""
    with transaction.atomic():
        subjects = [c.subject_id for c in expire_due(BATCH) if c.subject_kind == "action"]
        ended = advance(subjects, "expire", by=BY, facts={"because": "nobody decided in time"})
    late = Action.objects.filter(state="approved", lease=None, expires_at__lt=Now())
    late_ids: list[UUID] = list(late.values_list("pk", flat=True)[:BATCH])
    with transaction.atomic():
        void_open(late_ids)
        ended += advance(late_ids, "expire", by=BY, facts={"because": "the approval was not used in time"})
    return len(ended)


def waiting() -> list[str]:
    """The queues in which something waits that a worker could take up now: everybody's, and those of live nodes."""
    scopes = living()
    tell(scopes)
    return [scope.route(queue) for scope in (ANY, *scopes) for queue in STATES if waits(queue, scope)]
