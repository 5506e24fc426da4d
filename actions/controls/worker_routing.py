"""Which worker takes which action, on which queue it is woken, and in which order actions wait."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now
from redis import RedisError

from actions.controls.wake_up import flag_ms, redis_client
from actions.models import Action, Lease, Node
from actions.models.states import LIVE
from tenants.models import Environment


@dataclass(frozen=True)
class WorkerScope:
    """One node's actions or those of no node; `serves` limits it to `tenant/environment` pairs."""

    node: str = ""
    serves: tuple[str, ...] = ()

    def route(self, queue: str) -> str:
        """The queue on which this worker hears of work; `queue` itself for a worker that takes what comes."""
        if self.node:
            return node_queue(queue, self.node)
        if self.serves:
            return f"{queue}.in.{sha256(' '.join(sorted(self.serves)).encode()).hexdigest()[:12]}"
        return queue


ANY_SCOPE = WorkerScope()


def node_queue(queue: str, node: str) -> str:
    """The queue of a node's own workers."""
    return f"{queue}.node.{node}"


# Which worker carries what, and by which queue it hears of it.


def own_scope() -> WorkerScope:
    """What this process is told to carry, by INTERLOCK_NODE and INTERLOCK_ENVIRONMENTS."""
    told = settings.INTERLOCK
    return WorkerScope(told.node, tuple(sorted(told.environments)))


def live_scopes() -> set[WorkerScope]:
    """The scopes of the workers that are alive and take less than all that comes. One query."""
    leases = Lease.objects.filter(ended_at=None, expires_at__gt=Now()).exclude(node="", serves=[])
    return {WorkerScope(node, tuple(serves)) for node, serves in leases.values_list("node", "serves")}


def publish_routes(scopes: Iterable[WorkerScope]) -> None:
    """Leave word of workers that are limited to environments, for whoever nudges. Said by the sweep; never raises."""
    limited: dict[WorkerScope, list[str]] = {s: [] for s in scopes if s.serves and not s.node}
    if not limited:
        return
    for pk, slug, tenant in Environment.objects.values_list("pk", "slug", "tenant__slug"):
        for scope, places in limited.items():
            if f"{tenant}/{slug}" in scope.serves:
                places.append(pk.hex)
    with suppress(RedisError, OSError):
        known = {scope.route(""): places for scope, places in limited.items()}
        redis_client().set(_SERVING, json.dumps(known), px=4 * flag_ms())


_SERVING = "interlock:serving"
_known_routes: dict[str, Any] = {"at": float("-inf"), "routes": {}}


def limited_routes(queue: str, environment_ids: set[UUID]) -> list[str]:
    """The queues of workers that are limited to environments, of these. Asks Redis once in a sweep's interval."""
    if time.monotonic() - _known_routes["at"] > flag_ms() / 1000:
        _known_routes["at"] = time.monotonic()
        with suppress(RedisError, OSError):
            _known_routes["routes"] = json.loads(redis_client().get(_SERVING) or "{}")
    places = {pk.hex for pk in environment_ids}
    return [queue + route for route, served in _known_routes["routes"].items() if places.intersection(served)]


# Nodes: machines that carry their own actions, each by a worker of its own.


def known_node(target: dict[str, Any]) -> str:
    """The node that an action with this target has to wait for; empty for any. No query where none is named."""
    name = target.get("node") or ""
    return name if name and Node.objects.filter(pk=name).exists() else ""


def register_node(name: str) -> None:
    """Make a node known, by its own worker; what waits for its name becomes its own. One query once it is known."""
    if Node.objects.filter(pk=name).update(seen_at=Now()):
        return
    Node.objects.get_or_create(pk=name)
    Action.objects.filter(target__node=name, state__in=LIVE, lease=None).update(node=name)


# Whose turn it is within a tenant: who has waited longest, where a point of priority is worth five minutes of
# waiting.


PRIORITY_POINT = timedelta(minutes=5)
"""What one point of priority is worth."""


def queue_time(priority: int, proposed_at: datetime) -> datetime:
    return proposed_at - priority * PRIORITY_POINT
