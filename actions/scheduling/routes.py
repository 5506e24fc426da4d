"""
Which worker carries what, and by which queue it hears of it.

A worker of a node carries that node's actions and nobody else's; one without carries those of no node. Either may be
limited to some environments. The claim's statement sees to that; queues are only where the nudge goes.
"""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now
from redis import RedisError

from actions.models import Lease
from actions.nudge import flag_ms, store
from actions.scheduling.scope import Scope
from tenants.models import Environment


def here() -> Scope:
    """What this process is told to carry, by INTERLOCK_NODE and INTERLOCK_ENVIRONMENTS."""
    told = settings.INTERLOCK
    return Scope(told.node, tuple(sorted(told.environments)))


def living() -> set[Scope]:
    """The scopes of the workers that are alive and take less than all that comes. One query."""
    leases = Lease.objects.filter(ended_at=None, expires_at__gt=Now()).exclude(node="", serves=[])
    return {Scope(node, tuple(serves)) for node, serves in leases.values_list("node", "serves")}


def tell(scopes: Iterable[Scope]) -> None:
    """Leave word of workers that are limited to environments, for whoever nudges. Said by the sweep; never raises."""
    limited: dict[Scope, list[str]] = {s: [] for s in scopes if s.serves and not s.node}
    if not limited:
        return
    for pk, slug, tenant in Environment.objects.values_list("pk", "slug", "tenant__slug"):
        for scope, places in limited.items():
            if f"{tenant}/{slug}" in scope.serves:
                places.append(pk.hex)
    with suppress(RedisError, OSError):
        known = {scope.route(""): places for scope, places in limited.items()}
        store().set(_SERVING, json.dumps(known), px=4 * flag_ms())


_SERVING = "interlock:serving"
_heard: dict[str, Any] = {"at": float("-inf"), "routes": {}}


def limited_routes(queue: str, environment_ids: set[UUID]) -> list[str]:
    """The queues of workers that are limited to environments, of these. Asks Redis once in a sweep's interval."""
    if time.monotonic() - _heard["at"] > flag_ms() / 1000:
        _heard["at"] = time.monotonic()
        with suppress(RedisError, OSError):
            _heard["routes"] = json.loads(store().get(_SERVING) or "{}")
    places = {pk.hex for pk in environment_ids}
    return [queue + route for route, served in _heard["routes"].items() if places.intersection(served)]
