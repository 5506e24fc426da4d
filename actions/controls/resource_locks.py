"""
Resource locks: one action at a time per resource.

An action takes all its locks together when it starts, and releases them when it ends. If one is not free, it takes none
and waits for all of them. All queues have the same order, by the actions' ids, that is by proposal: so no two actions
wait for each other, and an action with many resources is not overtaken for ever by those with few. Keys are locked in
one order everywhere. The partial unique index decides between workers; reads before it only avoid conflicts.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from actions.models import Action, Quarantine, ResourceLock
from actions.models.states import State
from audit.database.statements import insert_rows

S = State
HOLDING_STATES = (S.IN_PROGRESS, S.VERIFYING, S.ROLLING_BACK, S.HELD)
LOCKING_STATES = (S.APPROVED, *HOLDING_STATES)
"""States in which an action may have locks, held or waiting."""
COLUMNS = ("key", "tenant_id", "environment_id", "kind", "name", "action_id", "held")


@dataclass(frozen=True, order=True)
class LockRequest:
    """A resource that an action is about to change."""

    key: str
    kind: str
    name: str


def lock_requests(environment_id: UUID, resources: Iterable[dict[str, Any]]) -> list[LockRequest]:
    """The resources of a plan without shared ones, each once, in the common order of locking."""
    pairs = {(str(r["kind"]), str(r["name"])) for r in resources if not r.get("shared")}
    return sorted(LockRequest(resource_key(environment_id, kind, name), kind, name) for kind, name in pairs)


def acquire(asked: Sequence[tuple[Action, Sequence[LockRequest]]]) -> set[UUID]:
    """
    Acquire all locks of each action; return the ids of those that now hold all, the others wait.

    Inside the transaction that moves them, with their rows locked. Three statements without contention.
    """
    keys = {lock.key for _, locks in asked for lock in locks}
    queues: dict[str, list[ResourceLock]] = {}
    wants = {action.pk: {lock.key for lock in locks} for action, locks in asked}
    stale = []
    for claim in ResourceLock.objects.filter(Q(key__in=keys) | Q(action__in=list(wants))).order_by("action"):
        if not claim.held and claim.key not in wants.get(claim.action_id, {claim.key}):
            stale.append(claim.pk)  # of a plan that was replaced meanwhile
        else:
            queues.setdefault(claim.key, []).append(claim)
    if stale:
        ResourceLock.objects.filter(pk__in=stale).delete()
    free: list[tuple[Action, Sequence[LockRequest]]] = []
    blocked: list[tuple[Action, Sequence[LockRequest]]] = []
    given: set[str] = set()
    for action, locks in sorted(asked, key=lambda a: _queue_position(a, queues)):
        clear = all(lock.key not in given and _is_first(action.pk, queues.get(lock.key, [])) for lock in locks)
        (free if clear else blocked).append((action, locks))
        given |= {lock.key for lock in locks} if clear else set()
    granted = _hold(free, queues) if free else set()
    blocked += [(action, locks) for action, locks in free if action.pk not in granted]
    _join_queue(blocked, queues)
    return granted


def release(action_ids: Sequence[UUID]) -> bool:
    """Release all locks of ended actions; return whether another action waits for one. Two statements."""
    if not action_ids:
        return False
    return _drop(action_ids, ResourceLock.objects.filter(action__in=list(action_ids)))


def leave_queue(action_ids: Sequence[UUID]) -> bool:
    """Remove these actions from the queues; return whether another action waits there. Two statements."""
    if not action_ids:
        return False
    return _drop(action_ids, ResourceLock.objects.filter(action__in=list(action_ids), held=False))


def _drop(action_ids: Sequence[UUID], mine: QuerySet[ResourceLock]) -> bool:
    is_awaited = (
        ResourceLock.objects.filter(key__in=mine.values("key"), held=False)
        .exclude(action__in=list(action_ids))
        .exists()
    )
    mine._raw_delete(mine.db)
    return is_awaited


def blocking_locks(action_ids: Iterable[UUID]) -> dict[UUID, list[ResourceLock]]:
    """The locks before those of each waiting action, with their actions, by resource. Two queries at most."""
    ours = ResourceLock.objects.filter(action__in=list(action_ids), held=False).order_by("kind", "name")
    waiting = list(ours.values_list("action", "key"))
    if not waiting:
        return {}
    before: dict[str, list[ResourceLock]] = {}
    for claim in (
        ResourceLock.objects.filter(key__in={key for _, key in waiting})
        .select_related("action")
        .order_by("-held", "action")
    ):
        before.setdefault(claim.key, []).append(claim)
    found: dict[UUID, list[ResourceLock]] = {}
    for pk, key in waiting:
        first = next((c for c in before.get(key, []) if c.action_id != pk and (c.held or c.action_id < pk)), None)
        if first is not None:
            found.setdefault(pk, []).append(first)
    return found


def blocking_locks_of_waiting(actions: Iterable[Action]) -> dict[UUID, list[ResourceLock]]:
    """`blocking_locks` of those of these actions that may be waiting; no query if there are none."""
    ready = [a.pk for a in actions if a.state in (S.APPROVED, S.ROLLING_BACK) and a.lease_id is None]
    return blocking_locks(ready) if ready else {}


def _queue_position(
    asked: tuple[Action, Sequence[LockRequest]], queues: dict[str, list[ResourceLock]]
) -> tuple[bool, int, UUID]:
    """Waiting actions first, in order; then by priority."""
    action, locks = asked
    waits = any(c.action_id == action.pk for lock in locks for c in queues.get(lock.key, []))
    return not waits, 0 if waits else -action.priority, action.pk


def _is_first(action_id: UUID, queue: list[ResourceLock]) -> bool:
    """Whether this action holds the lock, or no other holds it and none waits before."""
    return not any(c.action_id != action_id and (c.held or c.action_id < action_id) for c in queue) or any(
        c.held and c.action_id == action_id for c in queue
    )


def _hold(free: Sequence[tuple[Action, Sequence[LockRequest]]], queues: dict[str, list[ResourceLock]]) -> set[UUID]:
    """
    Turn waiting locks into held ones; return the actions that got all.

    Another action may have been faster, or the resource quarantined meanwhile.
    """
    ids = [action.pk for action, _ in free]
    waited = [c.pk for queue in queues.values() for c in queue if c.action_id in ids and not c.held]
    try:
        if waited:
            with transaction.atomic():
                ResourceLock.objects.filter(pk__in=waited).update(held=True)
    except IntegrityError:
        return set()
    _insert(free, held=True)
    keys = {lock.key for _, locks in free for lock in locks}
    quarantined = Quarantine.objects.filter(key=OuterRef("key"), cleared_at=None).exclude(action=OuterRef("action"))
    mine = ResourceLock.objects.filter(~Exists(quarantined), action__in=ids, key__in=keys, held=True)
    have = dict(mine.order_by().values("action").annotate(n=Count("pk")).values_list("action", "n"))
    got = {action.pk for action, locks in free if have.get(action.pk) == len(locks)}
    lost = [pk for pk in ids if pk not in got]
    if lost:
        ResourceLock.objects.filter(action__in=lost, held=True).update(held=False)
    return got


def _join_queue(blocked: Sequence[tuple[Action, Sequence[LockRequest]]], queues: dict[str, list[ResourceLock]]) -> None:
    known = {(c.action_id, c.key) for queue in queues.values() for c in queue}
    fresh = [(a, [lock for lock in locks if (a.pk, lock.key) not in known]) for a, locks in blocked]
    if any(locks for _, locks in fresh):
        _insert(fresh, held=False)


def _insert(asked: Sequence[tuple[Action, Sequence[LockRequest]]], *, held: bool) -> None:
    rows = [
        (lock.key, a.tenant_id, a.environment_id, lock.kind, lock.name, a.pk, held)
        for a, locks in asked
        for lock in locks
    ]
    insert_rows(ResourceLock, COLUMNS, sorted(rows, key=lambda r: r[0]), ignore_existing=True)


def resource_key(environment_id: UUID, kind: str, name: str) -> str:
    """The key of a resource, for its lock and its quarantine."""
    return hashlib.sha256(f"{environment_id}\x00{kind}\x00{name}".encode()).hexdigest()
