"""System: is the machinery alive, and what is stuck on what?"""

from collections.abc import Sequence
from time import time
from typing import Any

import redis
from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from kombu.exceptions import OperationalError as BrokerError

from actions.models import Action, Lease
from actions.nudge import is_nudged, last_sweep, store
from actions.pages.breakers import breakers_context
from actions.pages.entry import access_of, page
from actions.pages.locks import locks_of
from actions.pages.rows import visible
from actions.scheduling.places import holds_seen
from actions.scheduling.waits import Wait, waits_of
from actions.states import TO_DECIDE, TO_EXECUTE, State
from actions.types.registry import broken, executors
from audit.database.clock import database_time
from audit.templatetags.il import duration
from tenants.access import Access
from tenants.models import Environment

MOST = 25
PING_S = 5
SWEEPS_MISSED = 6
QUEUES = {"decide": TO_DECIDE, "execute": TO_EXECUTE}
ENDED_SHOWN = 5


@page
def system(request: HttpRequest) -> HttpResponse:
    context = {"here": "system", **system_context(access_of(request))}
    return render(
        request, "system/_system.html" if request.headers.get("HX-Request") else "system/system.html", context
    )


def system_context(access: Access) -> dict[str, Any]:
    """A fixed number of queries. Workers are the installation's; actions are only those that the reader may view."""
    now = database_time()
    leases = list(Lease.objects.filter(ended_at__isnull=True).order_by("queue", "worker"))
    alive = [lease for lease in leases if lease.expires_at > now]
    counted = visible(access).filter(lease__in=leases).order_by().values_list("lease").annotate(n=Count("pk"))
    holds = dict(counted)
    return {
        "now": now,
        "parts": parts(),
        "workers": [
            {"lease": lease, "alive": lease.expires_at > now, "holds": holds.get(lease.pk, 0)} for lease in leases
        ],
        "ended": list(Lease.objects.filter(ended_at__isnull=False).order_by("-ended_at")[:ENDED_SHOWN]),
        "queues": [_queue(access, name, states, alive, now) for name, states in QUEUES.items()],
        "blocked": blocked(access, alive, now),
        **locks_of(access),
        "environments": environments_of(access),
        "breakers": breakers_context(access),
        "types": executors(),
        "broken": broken(),
    }


def _queue(access: Access, name: str, states: tuple[str, ...], alive: list[Lease], now: Any) -> dict[str, Any]:
    waiting = visible(access).filter(state__in=states, lease__isnull=True).order_by()
    oldest = waiting.aggregate(oldest=Min("created_at"))["oldest"]
    return {
        "name": name,
        "waiting": waiting[:100].count(),
        "oldest_s": (now - oldest).total_seconds() if oldest else None,
        "workers": sum(lease.queue == name for lease in alive),
    }


def blocked(access: Access, alive: list[Lease], now: Any) -> list[dict[str, Any]]:
    """The oldest actions that do not move by themselves, each with what would move it."""
    states = (*TO_DECIDE, State.APPROVED, State.HELD, State.AWAITING_APPROVAL)
    found = visible(access).filter(state__in=states, lease__isnull=True).order_by("pk")[:MOST]
    queues = {lease.queue for lease in alive}
    waits = waits_of(actions := list(found))
    return [{"action": a, "by": _why(a, queues, now, waits.get(a.pk, ()))} for a in actions]


def environments_of(access: Access) -> list[dict[str, Any]]:
    """The environments that the reader may view, each with its switch where that is set. Two queries."""
    holds = {hold.environment_id: hold for hold in holds_seen(access)}
    places = Environment.objects.filter(pk__in=access.environments_where("view")).order_by("slug")
    return [{"place": place, "hold": holds.get(place.pk)} for place in places]


def _why(action: Action, queues: set[str], now: Any, waits: Sequence[Wait]) -> str:
    if waits:
        return "; ".join(wait.short for wait in waits)
    if action.state == State.AWAITING_APPROVAL:
        return "people who have to decide"
    if action.state == State.HELD:
        return "an operator who has to say how to go on"
    if action.not_before and action.not_before > now:
        return f"its start time, {action.not_before:%d %b %H:%M} UTC"
    queue = "decide" if action.state in TO_DECIDE else "execute"
    return f"a free {queue} worker" if queue in queues else f"a {queue} worker: none is alive"


def parts() -> list[dict[str, Any]]:
    """What Interlock stands on. The broker's and the layer's state are looked at every ten seconds at most."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sqlite_version()" if connection.vendor == "sqlite" else "SHOW server_version")
        version = cursor.fetchone()[0]
    database = {"name": "Database", "ok": True, "detail": f"{connection.display_name} {version}"}
    around = cache.get_or_set("interlock.system.parts", outside, PING_S) or []
    return [database, *around]


def outside() -> list[dict[str, Any]]:
    """Redis, by a ping; the workers, by asking them through the broker; the sweep, by its mark. About two seconds."""
    try:
        store().ping()
        swept_at, nudged = last_sweep(), [queue for queue in QUEUES if is_nudged(queue)]
    except (redis.RedisError, OSError) as error:
        gone = f"does not answer ({type(error).__name__}); work waits for the sweep"
        return [{"name": "Redis", "ok": False, "detail": gone}]
    try:
        answers = current_app.control.inspect(timeout=1.0).ping() or {}
    except (BrokerError, redis.RedisError, OSError) as error:
        gone = f"does not answer ({type(error).__name__}); work is accepted, and runs when it is back"
        return [{"name": "Message broker", "ok": False, "detail": gone}]
    names = ", ".join(sorted(name.partition("@")[0] for name in answers)) or "nobody answers; a busy one may be slow to"
    late = swept_at is None or time() - swept_at > SWEEPS_MISSED * settings.INTERLOCK.sweep_s
    when = "no sweep is known of" if swept_at is None else f"last {duration(max(time() - swept_at, 0))} ago"
    return [
        {"name": "Redis", "ok": True, "detail": f"nudges under way: {', '.join(nudged) or 'none'}"},
        {"name": "Workers", "ok": bool(answers), "detail": names},
        {"name": "Sweep", "ok": not late, "detail": f"{when}, every {settings.INTERLOCK.sweep_s:g} s"},
    ]
