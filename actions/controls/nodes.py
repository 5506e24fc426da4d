"""Nodes and limited workers: which of them are alive, which actions they take, and the order within a tenant."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now
from redis import RedisError

from actions.controls.worker_queues import WorkerScope, flag_ms, redis_client
from actions.models import Action, Lease, Node
from actions.models.states import LIVE
from tenants.models import Environment


def own_scope() -> WorkerScope:
    """The scope of this process, from INTERLOCK_NODE and INTERLOCK_ENVIRONMENTS."""
    configured = settings.INTERLOCK
    return WorkerScope(configured.node, tuple(sorted(configured.environments)))


def live_scopes() -> set[WorkerScope]:
    """The scopes of live workers that are limited to a node or to environments. One query."""
    leases = Lease.objects.filter(ended_at=None, expires_at__gt=Now()).exclude(node="", serves=[])
    return {WorkerScope(node, tuple(serves)) for node, serves in leases.values_list("node", "serves")}


def publish_routes(scopes: Iterable[WorkerScope]) -> None:
    """
    Publish which workers are limited to environments, for those who wake them up. Called by the sweep; never raises.
    """
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
    """
    The queues of workers that are limited to any of these environments. Reads Redis once per interval of the sweep.
    """
    if time.monotonic() - _known_routes["at"] > flag_ms() / 1000:
        _known_routes["at"] = time.monotonic()
        with suppress(RedisError, OSError):
            _known_routes["routes"] = json.loads(redis_client().get(_SERVING) or "{}")
    places = {pk.hex for pk in environment_ids}
    return [queue + route for route, served in _known_routes["routes"].items() if places.intersection(served)]


def known_node(target: dict[str, Any]) -> str:
    """The node whose worker must run an action with this target; empty for any. No query without a named node."""
    name = target.get("node") or ""
    return name if name and Node.objects.filter(pk=name).exists() else ""


def register_node(name: str) -> None:
    """Register a node, called by its own worker; live actions with its name are assigned to it. Then one query."""
    if Node.objects.filter(pk=name).update(seen_at=Now()):
        return
    Node.objects.get_or_create(pk=name)
    Action.objects.filter(target__node=name, state__in=LIVE, lease=None).update(node=name)


PRIORITY_POINT = timedelta(minutes=5)
"""What one point of priority is worth."""


def queue_time(priority: int, proposed_at: datetime) -> datetime:
    return proposed_at - priority * PRIORITY_POINT
