"""
Admission of transitions: concurrency limits and resource locks, acquired before the write and released after it.

Called by `actions.lifecycle.commit` inside its transaction. Lock order: limits, actions, resource locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction

from actions.controls.limits import limit_facts, split_by_limits
from actions.controls.resource_locks import LOCKING_STATES, acquire, blocking_locks, leave_queue, release
from actions.controls.sql import RUNNING
from actions.controls.worker_queues import wake_up
from actions.models import Action

if TYPE_CHECKING:
    from actions.lifecycle.transitions import Transition

MAX_NAMED = 20


def check_limits(writes: Sequence[Transition]) -> None:
    """
    Count starting actions against the limits. Over a limit, a worker's transition is deferred, and a person's is
    refused.

    No statement if the workers know of no limit: the guard of the update sees a limit that was set since.
    """
    asked = [w for w in writes if w.enters and w.capped is not False]
    if not asked:
        return
    let, kept = split_by_limits([w.action for w in asked])
    for w in asked:
        w.admitted = w.action.pk in let
        if not w.admitted and w.lease is not None:
            w.defer({"limits": limit_facts(kept[w.action.pk])})
    if any(w.is_blocked for w in asked):
        wake_waiting()  # a counted action may have ended by now, and nothing else would wake us


def acquire_locks(writes: Sequence[Transition]) -> list[Transition]:
    """
    Acquire the resource locks of these transitions; defer those that must wait.

    Return those that got their locks or are deferred: their guard matches except for freezes and limits.
    """
    wanting = [w for w in writes if w.lock_requests and not w.is_blocked]
    if not wanting:
        return []
    ours = _lock_actions(wanting)
    granted = acquire([(w.action, w.lock_requests) for w in ours]) if ours else set()
    blocked = [w for w in ours if w.action.pk not in granted]
    behind = blocking_locks([w.action.pk for w in blocked]) if blocked else {}
    for w in blocked:
        first = behind.get(w.action.pk, [])[:MAX_NAMED]
        w.defer({"behind": [{"kind": c.kind, "name": c.name, "action": str(c.action_id)} for c in first]})
    if any(w.action.pk not in behind for w in blocked):
        wake_waiting()  # the blocking action has just released its locks, and nothing else would wake us
    return ours


def _lock_actions(writes: Sequence[Transition]) -> list[Transition]:
    """
    Lock the actions of these transitions; return those whose guard will match.

    The locks of the others must not change: another worker may be running them. Lock order everywhere: actions before
    resource locks.
    """
    rows = Action.objects.select_for_update(no_key=True).filter(pk__in=[w.action.pk for w in writes]).order_by("pk")
    found = {pk: rest for pk, *rest in rows.values_list("pk", "state", "seq", "lease")}
    return [
        w
        for w in writes
        if w.action.pk in found
        and found[w.action.pk][:2] == [w.action.state, w.action.seq]
        and w.lease in (None, found[w.action.pk][2])
    ]


def release_refused(refused: Sequence[Transition]) -> None:
    """Release the locks of transitions that a freeze or a new limit refused. They keep their place in the queue."""
    if refused and release([w.action.pk for w in refused]):
        wake_waiting()


def release_ended(stuck: Sequence[Transition]) -> None:
    """Release the locks of actions that end with these transitions; a held action leaves the queues."""
    ended = [w.action.pk for w in stuck if w.action.state in LOCKING_STATES and w.target not in LOCKING_STATES]
    held = [w.action.pk for w in stuck if w.verb == "hold"]
    makes_room = any(w.capped and w.action.state in RUNNING and w.target not in RUNNING for w in stuck)
    if release(ended) | leave_queue(held) | makes_room:
        wake_waiting()


def wake_waiting() -> None:
    transaction.on_commit(lambda: wake_up("execute"))
