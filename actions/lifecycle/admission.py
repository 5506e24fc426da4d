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


def check_limits(transitions: Sequence[Transition]) -> None:
    """
    Count starting actions against the limits. Over a limit, a worker's transition is deferred, and a person's is
    refused.

    No statement if the workers know of no limit: the guard of the update sees a limit that was set since.
    """
    starting = [transition for transition in transitions if transition.enters and transition.capped is not False]
    if not starting:
        return
    admitted, limited = split_by_limits([transition.action for transition in starting])
    for transition in starting:
        transition.admitted = transition.action.pk in admitted
        if not transition.admitted and transition.lease is not None:
            transition.defer({"limits": limit_facts(limited[transition.action.pk])})
    if any(transition.is_blocked for transition in starting):
        wake_waiting()  # a counted action may have ended by now, and nothing else would wake us


def acquire_locks(transitions: Sequence[Transition]) -> list[Transition]:
    """
    Acquire the resource locks of these transitions; defer those that must wait.

    Return those that got their locks or are deferred: their guard matches except for freezes and limits.
    """
    requesting = [transition for transition in transitions if transition.lock_requests and not transition.is_blocked]
    if not requesting:
        return []
    matching = _lock_actions(requesting)
    granted = acquire([(transition.action, transition.lock_requests) for transition in matching]) if matching else set()
    blocked = [transition for transition in matching if transition.action.pk not in granted]
    behind = blocking_locks([transition.action.pk for transition in blocked]) if blocked else {}
    for transition in blocked:
        first = behind.get(transition.action.pk, [])[:MAX_NAMED]
        transition.defer({"behind": [{"kind": c.kind, "name": c.name, "action": str(c.action_id)} for c in first]})
    if any(transition.action.pk not in behind for transition in blocked):
        wake_waiting()  # the blocking action has just released its locks, and nothing else would wake us
    return matching


def _lock_actions(transitions: Sequence[Transition]) -> list[Transition]:
    """
    Lock the actions of these transitions; return those whose guard will match.

    The locks of the others must not change: another worker may be running them. Lock order everywhere: actions before
    resource locks.
    """
    rows = (
        Action.objects.select_for_update(no_key=True)
        .filter(pk__in=[transition.action.pk for transition in transitions])
        .order_by("pk")
    )
    found = {pk: rest for pk, *rest in rows.values_list("pk", "state", "seq", "lease")}
    return [
        transition
        for transition in transitions
        if transition.action.pk in found
        and found[transition.action.pk][:2] == [transition.action.state, transition.action.seq]
        and transition.lease in (None, found[transition.action.pk][2])
    ]


def release_refused(refused: Sequence[Transition]) -> None:
    """Release the locks of transitions that a freeze or a new limit refused. They keep their place in the queue."""
    if refused and release([transition.action.pk for transition in refused]):
        wake_waiting()


def release_ended(applied: Sequence[Transition]) -> None:
    """Release the locks of actions that end with these transitions; a held action leaves the queues."""
    ended = [
        transition.action.pk
        for transition in applied
        if transition.action.state in LOCKING_STATES and transition.target not in LOCKING_STATES
    ]
    held = [transition.action.pk for transition in applied if transition.verb == "hold"]
    makes_room = any(
        transition.capped and transition.action.state in RUNNING and transition.target not in RUNNING
        for transition in applied
    )
    if release(ended) | leave_queue(held) | makes_room:
        wake_waiting()


def wake_waiting() -> None:
    transaction.on_commit(lambda: wake_up("execute"))
