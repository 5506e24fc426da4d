"""
The sweep: repairs what no message did. Runs every few seconds; each part is set-based and may run twice.

It ends leases that were not renewed and frees their actions, with the reason; expires requests and approvals; chooses a
probe for each breaker whose time is over; proposes fallback actions; wakes up queues in which work waits; deletes old
idempotency keys, and log lines of ended attempts.
"""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from actions.controls.circuit_breaker import half_open_due
from actions.controls.freeze import FREEZE
from actions.controls.limits import delete_full
from actions.controls.nodes import live_scopes, publish_routes
from actions.controls.worker_queues import ANY_SCOPE
from actions.engine.dequeue import STATES, has_waiting
from actions.intake.submission import fallback_submission
from actions.intake.submit import submit
from actions.lifecycle.commit import advance, commit, record_note
from actions.lifecycle.transitions import Note, Transition
from actions.models import Action, Freeze, IdempotencyKey, Lease
from actions.models.states import State
from actions.run.transcript import delete_ended
from approvals.requests.lifecycle import expire_due, void_open
from audit.errors import Problem
from audit.models import Event
from tenants.access import access_for

ACTOR = "system:sweep"
BATCH = 200
KEYS_KEPT = timedelta(days=7)


def sweep_all(wake_up: Callable[..., None]) -> None:
    end_expired_leases()
    expire_overdue()
    repair_freezes()
    half_open_due(wake_up)
    propose_fallbacks()
    delete_full()
    delete_ended()
    for queue in waiting_queues():
        wake_up(queue)
    IdempotencyKey.objects.filter(created_at__lt=Now() - KEYS_KEPT).delete()


def end_expired_leases() -> int:
    """End expired leases and release their actions, each with an event that says why; return how many were freed."""
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
            writes = [_lost_lease(a) for a in held]
            moved = len(commit(writes)) if writes else 0
        freed += moved
        if moved < BATCH:
            return freed


def _lost_lease(action: Action) -> Transition:
    facts = {"lease": action.lease_id, "why": action.lease.ended_why if action.lease else ""}
    return Transition(action, by=ACTOR, notes=[Note("lease.lost", facts)], lease=action.lease_id, release=True)


def expire_overdue() -> int:
    """Expire requests past their time together with their actions, and approved actions that never started."""
    with transaction.atomic():
        subjects = [c.subject_id for c in expire_due(BATCH) if c.subject_kind == "action"]
        ended = advance(subjects, "expire", by=ACTOR, facts={"because": "not decided in time"})
    late = Action.objects.filter(state="approved", lease=None, expires_at__lt=Now())
    late_ids: list[UUID] = list(late.values_list("pk", flat=True)[:BATCH])
    with transaction.atomic():
        void_open(late_ids)
        ended += advance(late_ids, "expire", by=ACTOR, facts={"because": "the approval was not used in time"})
    return len(ended)


def waiting_queues() -> list[str]:
    """The queues in which an action could be taken now: the general ones, and those of live nodes."""
    scopes = live_scopes()
    publish_routes(scopes)
    return [scope.route(queue) for scope in (ANY_SCOPE, *scopes) for queue in STATES if has_waiting(queue, scope)]


# Fallback actions: proposed once the failed action is rolled back, as any other action.


FALLBACK_BATCH = 20


def propose_fallbacks() -> int:
    """
    Propose the fallbacks that are due, for the requester of the first action; return how many.

    May run twice: the idempotency key gives the same action again. A refused one (role, type, target) leaves an event
    on the first action that says why. One query if none is due.
    """
    due = Action.objects.filter(fallback_due=True, state__in=(State.FAILED, State.ROLLED_BACK)).order_by("pk")
    joined = due.select_related("environment__tenant", "tenant", "requester__owner", "plan")
    return sum(_propose(action) for action in list(joined[:FALLBACK_BATCH]))


def _propose(action: Action) -> bool:
    said: dict[str, Any] = (action.plan.recovery if action.plan else {}).get("fallback") or {}
    try:
        made, _ = submit(
            access_for(action.requester, action.tenant),
            fallback_submission(action.environment, said, action),
            idempotency_key=f"fallback of {action.pk}",
            correlation_id=action.correlation_id,
            fallback_of=action,
        )
    except Problem as problem:
        words = " ".join([problem.detail, *(i["message"] for i in problem.extra.get("issues", []))])[:2_000]
        refused = Note("action.fallback_refused", {"code": problem.code}, {"message": words}, outcome="failed")
        record_note(action, refused, by=ACTOR, sets={"fallback_due": False})
        return False
    proposed = Note("action.fallback_proposed", {"action": str(made.pk), "type": made.type})
    return record_note(action, proposed, by=ACTOR, sets={"fallback_due": False})


FREEZE_ACTOR = "system:freeze"


FREEZE_BATCH = 200


def stop_frozen_runs(tenant_ids: Iterable[UUID], environment_ids: Iterable[UUID], by: str = FREEZE_ACTOR) -> int:
    """
    Request that runs in these environments stop at their next checkpoint, unless a stop is requested; return how many.
    """
    running = Action.objects.filter(
        tenant__in=set(tenant_ids),
        environment__in=list(environment_ids),
        state=State.IN_PROGRESS,
        stop_requested_at=None,
    )
    asked = [
        Transition(
            action,
            by=by,
            notes=[Note("action.freeze_requested", {"reason": FREEZE})],
            stop=True,
            sets={"stop_reason": FREEZE},
        )
        for action in running
    ]
    return len(commit(asked)) if asked else 0


def resume_unfrozen(by: str = FREEZE_ACTOR, environment_ids: Iterable[UUID] | None = None) -> int:
    """
    Resume actions held by a freeze that was lifted: forward, or backward if they were rolling back.

    Two queries if none is held. No person has to confirm, because the cause is gone.
    """
    waiting = Action.objects.filter(state=State.HELD, held_reason=FREEZE).exclude(
        environment__in=Freeze.objects.filter(lifted_at=None).values("environment")
    )
    if environment_ids is not None:
        waiting = waiting.filter(environment__in=list(environment_ids))
    ids = list(waiting.order_by("turn_at", "pk").values_list("pk", flat=True)[:FREEZE_BATCH])
    if not ids:
        return 0
    back = were_rolling_back(ids)
    facts = {"because": "the environment was unfrozen"}
    moved = advance([pk for pk in ids if pk not in back], "resume", by=by, facts=facts)
    moved += advance(back, "roll_back", by=by, facts=facts) if back else []
    return len(moved)


def repair_freezes() -> None:
    """For the sweep: request a stop of runs that a freeze missed, and resume actions that no freeze holds any more."""
    held = list(Freeze.objects.filter(lifted_at=None).values_list("tenant", "environment"))
    if held:
        stop_frozen_runs({tenant for tenant, _ in held}, {place for _, place in held})
    resume_unfrozen()


def were_rolling_back(action_ids: Iterable[UUID]) -> set[UUID]:
    """Those of these held actions that were rolling back, by the newest event that held each. One query."""
    held = Event.objects.filter(subject_kind="action", subject_id__in=list(action_ids), verb="action.hold")
    newest: dict[UUID, str] = {}
    for subject_id, body in held.order_by("seq").values_list("subject_id", "body"):
        newest[subject_id] = json.loads(bytes(body))["facts"].get("from", "")
    return {pk for pk, before in newest.items() if before == State.ROLLING_BACK}
