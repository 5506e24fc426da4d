"""Operations pages: system status, resource locks, environments and freezes, circuit breakers, prediction accuracy."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import UUID

import redis
from celery import current_app
from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.db import connection
from django.db.models import Count, Min, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST
from kombu.exceptions import OperationalError as BrokerError

from actions.commands import freeze
from actions.controls.blockers import Blocker, find_blockers
from actions.controls.circuit_breaker import MAX_BREAKERS, breaker_name, reset_breaker, visible_breakers
from actions.controls.freeze import environment_status, visible_freezes, visible_limits
from actions.controls.worker_queues import is_woken, last_sweep, redis_client
from actions.models import Action, Lease, ResourceLock
from actions.models.states import TO_DECIDE, TO_EXECUTE, State
from actions.pages.decorators import read_reason, redirect_to, require_member
from actions.queries.action_list import visible_actions
from actions.queries.prediction_accuracy import PERIODS, USUAL_DAYS, accuracy_report
from actions.types.registry import broken_executors, executors
from audit.database.clock import database_time
from audit.templatetags.il import duration
from audit.web import correlation_of
from tenants.access import Access, access_of, visible_to
from tenants.models import Environment

MAX_LOCKS = 25
MAX_WAITING = 500
"""Claims that wait, oldest first, that are looked at: who is beyond is only not counted."""
WAITERS_NAMED = 3


@dataclass
class LockView:
    """One resource that an action has; `waiting` are the first in its queue, of `count` in all."""

    claim: ResourceLock
    waiting: list[Action] = field(default_factory=list)
    count: int = 0

    @property
    def more(self) -> int:
        return self.count - len(self.waiting)


def fetch_locks(access: Access) -> dict[str, Any]:
    """{"locks", "is_cut"}: those that somebody waits for first, then the oldest. Four queries."""
    claims = visible_to(ResourceLock.objects.order_by("pk"), access)
    queues: dict[str, list[UUID]] = defaultdict(list)
    for key, action_id in claims.filter(held=False).values_list("key", "action")[:MAX_WAITING]:
        queues[key].append(action_id)
    contested = sorted(queues, key=lambda key: -len(queues[key]))[: MAX_LOCKS + 1]
    held = _held_locks(claims).filter(key__in=contested) if contested else []
    found = sorted(held, key=lambda c: -len(queues[c.key]))
    rest = list(_held_locks(claims).exclude(key__in=contested)[: MAX_LOCKS + 1 - min(len(found), MAX_LOCKS)])
    shown = [*found, *rest]
    names = _visible_by_id({pk for c in shown[:MAX_LOCKS] for pk in queues[c.key][:WAITERS_NAMED]}, access)
    locks = [
        LockView(c, [names[pk] for pk in queues[c.key][:WAITERS_NAMED] if pk in names], len(queues[c.key]))
        for c in shown[:MAX_LOCKS]
    ]
    return {"locks": locks, "locks_cut": len(shown) > MAX_LOCKS}


def _held_locks(claims: QuerySet[ResourceLock]) -> QuerySet[ResourceLock]:
    few = ("key", "kind", "name", "since", "held", "environment", "action")
    of_action = ("action__title", "action__state", "action__held_reason")
    joined = claims.filter(held=True).select_related("action", "environment")
    place = ("environment__slug", "environment__name", "environment__risk_class")
    return joined.only(*few, *of_action, *place)


def _visible_by_id(ids: set[UUID], access: Access) -> dict[UUID, Action]:
    if not ids:
        return {}
    return {a.pk: a for a in visible_to(Action.objects.filter(pk__in=ids).only("title", "state"), access)}


# One environment: its freeze, the actions it holds, its concurrency limits.


@require_member
def environment_page(request: HttpRequest, slug: str) -> HttpResponse:
    access = access_of(request)
    place = freeze.find_environment(access, slug)
    may = access.can("operate", place.pk) or access.can("administer", place.pk)
    context = {"here": "system", "place": place, "standing": environment_status(place), "may_freeze": may}
    return render(request, "environments/environment.html", context | {"caps": visible_limits(access, place)})


@require_POST
@require_member
def freeze_environment(request: HttpRequest, slug: str) -> HttpResponse:
    thrown = freeze.freeze(access_of(request), slug, read_reason(request), correlation_id=correlation_of(request))
    messages.warning(
        request, f"{thrown.environment.name} is frozen. No action starts; runs stop at their next checkpoint."
    )
    return redirect_to(request, f"/environments/{slug}/")


@require_POST
@require_member
def unfreeze_environment(request: HttpRequest, slug: str) -> HttpResponse:
    resumed = freeze.unfreeze(access_of(request), slug, read_reason(request), correlation_id=correlation_of(request))
    messages.success(request, f"Released. {resumed} held action{'' if resumed == 1 else 's'} went on.")
    return redirect_to(request, f"/environments/{slug}/")


# Circuit breakers on the system page.


def breakers_context(access: Access) -> list[dict[str, Any]]:
    """The breakers that count failures, and whether the reader may reset each. One query."""
    return [
        {"it": b, "name": breaker_name(b), "may_reset": access.can("operate", b.environment_id)}
        for b in visible_breakers(access)[:MAX_BREAKERS]
    ]


@require_POST
@require_member
def reset_breaker_view(request: HttpRequest, breaker_id: UUID) -> HttpResponse:
    reason = read_reason(request)
    breaker = reset_breaker(access_of(request), breaker_id, reason, correlation_id=correlation_of(request))
    messages.success(request, f"The breaker of {breaker_name(breaker)} is closed. Waiting actions can start.")
    return redirect_to(request, "/system/")


# System: the state of every component, and what each waiting action waits for.


MAX_BLOCKED = 25
PING_S = 5
SWEEPS_MISSED = 6
QUEUES = {"decide": TO_DECIDE, "execute": TO_EXECUTE}
ENDED_SHOWN = 5


@require_member
def system_page(request: HttpRequest) -> HttpResponse:
    context = {"here": "system", **system_context(access_of(request))}
    return render(request, "system/_body.html" if request.headers.get("HX-Request") else "system/system.html", context)


def system_context(access: Access) -> dict[str, Any]:
    """A fixed number of queries. Workers are the installation's; actions are only those that the reader may view."""
    now = database_time()
    leases = list(Lease.objects.filter(ended_at__isnull=True).order_by("queue", "worker"))
    alive = [lease for lease in leases if lease.expires_at > now]
    counted = visible_actions(access).filter(lease__in=leases).order_by().values_list("lease").annotate(n=Count("pk"))
    holds = dict(counted)
    return {
        "now": now,
        "parts": component_status(),
        "workers": [
            {"lease": lease, "alive": lease.expires_at > now, "holds": holds.get(lease.pk, 0)} for lease in leases
        ],
        "ended": list(Lease.objects.filter(ended_at__isnull=False).order_by("-ended_at")[:ENDED_SHOWN]),
        "queues": [_queue_status(access, name, states, alive, now) for name, states in QUEUES.items()],
        "blocked": fetch_blocked(access, alive, now),
        **fetch_locks(access),
        "environments": fetch_environments(access),
        "breakers": breakers_context(access),
        "types": executors(),
        "broken": broken_executors(),
    }


def _queue_status(access: Access, name: str, states: tuple[str, ...], alive: list[Lease], now: Any) -> dict[str, Any]:
    waiting = visible_actions(access).filter(state__in=states, lease__isnull=True).order_by()
    oldest = waiting.aggregate(oldest=Min("created_at"))["oldest"]
    return {
        "name": name,
        "waiting": waiting[:100].count(),
        "oldest_s": (now - oldest).total_seconds() if oldest else None,
        "workers": sum(lease.queue == name for lease in alive),
    }


def fetch_blocked(access: Access, alive: list[Lease], now: Any) -> list[dict[str, Any]]:
    """The oldest actions that do not move by themselves, each with what would move it."""
    states = (*TO_DECIDE, State.APPROVED, State.HELD, State.AWAITING_APPROVAL)
    found = visible_actions(access).filter(state__in=states, lease__isnull=True).order_by("pk")[:MAX_BLOCKED]
    queues = {lease.queue for lease in alive}
    waits = find_blockers(actions := list(found))
    return [{"action": a, "by": _describe_block(a, queues, now, waits.get(a.pk, ()))} for a in actions]


def fetch_environments(access: Access) -> list[dict[str, Any]]:
    """The environments that the reader may view, each with its switch where that is set. Two queries."""
    holds = {hold.environment_id: hold for hold in visible_freezes(access)}
    places = Environment.objects.filter(pk__in=access.environments_where("view")).order_by("slug")
    return [{"place": place, "hold": holds.get(place.pk)} for place in places]


def _describe_block(action: Action, queues: set[str], now: Any, waits: Sequence[Blocker]) -> str:
    if waits:
        return "; ".join(wait.short for wait in waits)
    if action.state == State.AWAITING_APPROVAL:
        return "people who have to decide"
    if action.state == State.HELD:
        return "an operator to resolve it"
    if action.not_before and action.not_before > now:
        return f"its start time, {action.not_before:%d %b %H:%M} UTC"
    queue = "decide" if action.state in TO_DECIDE else "execute"
    return f"a free {queue} worker" if queue in queues else f"a {queue} worker: none is alive"


def component_status() -> list[dict[str, Any]]:
    """What Interlock stands on. The broker's and the layer's state are looked at every ten seconds at most."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sqlite_version()" if connection.vendor == "sqlite" else "SHOW server_version")
        version = cursor.fetchone()[0]
    database = {"name": "Database", "ok": True, "detail": f"{connection.display_name} {version}"}
    around = cache.get_or_set("interlock.system.parts", external_status, PING_S) or []
    return [database, *around]


def external_status() -> list[dict[str, Any]]:
    """Redis, by a ping; the workers, by asking them through the broker; the sweep, by its mark. About two seconds."""
    try:
        redis_client().ping()
        swept_at, woken = last_sweep(), [queue for queue in QUEUES if is_woken(queue)]
    except (redis.RedisError, OSError) as error:
        gone = f"does not answer ({type(error).__name__}); work waits for the sweep"
        return [{"name": "Redis", "ok": False, "detail": gone}]
    try:
        answers = current_app.control.inspect(timeout=1.0).ping() or {}
    except (BrokerError, redis.RedisError, OSError) as error:
        gone = f"does not answer ({type(error).__name__}); work is accepted, and runs when it is back"
        return [{"name": "Message broker", "ok": False, "detail": gone}]
    names = ", ".join(sorted(name.partition("@")[0] for name in answers)) or "no answer; a busy worker may respond late"
    late = swept_at is None or time() - swept_at > SWEEPS_MISSED * settings.INTERLOCK.sweep_s
    when = "no sweep is known of" if swept_at is None else f"last {duration(max(time() - swept_at, 0))} ago"
    return [
        {"name": "Redis", "ok": True, "detail": f"wake-ups under way: {', '.join(woken) or 'none'}"},
        {"name": "Workers", "ok": bool(answers), "detail": names},
        {"name": "Sweep", "ok": not late, "detail": f"{when}, every {settings.INTERLOCK.sweep_s:g} s"},
    ]


# Prediction accuracy by action type.


@require_member
def prediction_accuracy_page(request: HttpRequest) -> HttpResponse:
    asked = request.GET
    return render(request, "prediction_accuracy/prediction_accuracy.html", accuracy_context(access_of(request), asked))


def accuracy_context(access: Access, asked: Any) -> dict[str, Any]:
    """What one may view, of one environment or all of them; a filter that is not known is as if it were not there."""
    visible = access.environments_where("view")
    places = list(Environment.objects.filter(tenant=access.tenant, pk__in=visible).order_by("slug"))
    chosen = next((place for place in places if place.slug == asked.get("environment")), None)
    days = next((n for n in PERIODS if str(n) == asked.get("days")), USUAL_DAYS)
    return {
        "here": "prediction_accuracy",
        "environments": places,
        "chosen": chosen,
        "days": days,
        "periods": PERIODS,
        "rows": accuracy_report([chosen.pk] if chosen else [place.pk for place in places], days),
    }
