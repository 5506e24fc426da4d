"""
Concurrency limits and retry budgets.

A concurrency limit is counted under a lock on the limits of the tenant, inside the transaction that moves the action;
so no number of workers exceeds it. A retry budget is a bucket of tokens per target: each retry takes one, time refills
it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import Now

from actions.controls.sql import RUNNING
from actions.models import Action, ConcurrencyLimit, RetryBudget
from audit.database.clock import database_time

log = structlog.get_logger(__name__)
TOKENS, PERIOD_S = 20, 300.0
"""The capacity of a retry budget: so many retries at once, and as many more per period."""
REFILL_TIME = timedelta(seconds=PERIOD_S)


def bucket_key(action: Action, step: dict[str, Any]) -> str:
    """The target of a step's retries: the action's node, else the step's target."""
    node = action.target.get("node", "")
    target = f"node\x00{node}" if node else f"step\x00{step['target']}"
    return hashlib.sha256(f"{action.tenant_id}\x00{action.environment_id}\x00{target}".encode()).hexdigest()


def take_token(action: Action, step: dict[str, Any]) -> bool:
    """
    Take a token for one retry; False if none is left now.

    One short transaction, the bucket's row locked. False also on a database error: skipping a retry does no harm.
    """
    key = bucket_key(action, step)
    try:
        with transaction.atomic():
            full = RetryBudget(key=key, tenant_id=action.tenant_id, tokens=float(TOKENS), at=Now())
            RetryBudget.objects.bulk_create([full], ignore_conflicts=True)
            bucket, now = RetryBudget.objects.select_for_update().get(pk=key), database_time()
            gone_s = max(0.0, (now - bucket.at).total_seconds())
            bucket.tokens = min(float(TOKENS), bucket.tokens + gone_s * TOKENS / PERIOD_S)
            may = bucket.tokens >= 1
            bucket.tokens -= may
            bucket.at = now
            bucket.save()
            return may
    except (DatabaseError, InterfaceError) as error:
        log.warning("retry_budget_unknown", action=str(action.pk), error=str(error))
        return False


def delete_full() -> None:
    """For the sweep: delete buckets that are full again. One statement."""
    RetryBudget.objects.filter(at__lt=Now() - REFILL_TIME).delete()


# Concurrency limits.


def split_by_limits(actions: Sequence[Action]) -> tuple[set[UUID], dict[UUID, list[ConcurrencyLimit]]]:
    """
    Split actions about to run: those that every limit admits, in order; and the others with the limits reached.

    Locks the limits of their tenants until the end of the transaction. One statement; a second where there are limits.
    """
    tenants = {a.tenant_id for a in actions}
    limits = list(ConcurrencyLimit.objects.select_for_update().filter(tenant__in=tenants).order_by("pk"))
    free = count_free(limits)
    let: set[UUID] = set()
    kept: dict[UUID, list[ConcurrencyLimit]] = {}
    for action in sorted(actions, key=lambda a: (a.turn_at, a.pk)):
        over = limits_covering(limits, action)
        full = [limit for limit in over if free[limit.pk] <= 0]
        if full:
            kept[action.pk] = full
            continue
        let.add(action.pk)
        for limit in over:
            free[limit.pk] -= 1
    return let, kept


def count_running(limits: Sequence[ConcurrencyLimit]) -> dict[UUID, int]:
    """How many actions covered by each limit run now. One query; none without limits."""
    if not limits:
        return {}
    running = Action.objects.filter(tenant__in={c.tenant_id for c in limits}, state__in=RUNNING).order_by()
    counted = list(running.values_list("tenant_id", "environment_id", "type").annotate(n=Count("pk")))
    return {
        limit.pk: sum(
            n for tenant, place, kind, n in counted if tenant == limit.tenant_id and limit.covers(place, kind)
        )
        for limit in limits
    }


def count_free(limits: Sequence[ConcurrencyLimit]) -> dict[UUID, int]:
    """How many more each limit admits; negative if it was lowered while more ran."""
    running = count_running(limits)
    return {limit.pk: limit.most - running[limit.pk] for limit in limits}


def limits_covering(limits: Iterable[ConcurrencyLimit], action: Action) -> list[ConcurrencyLimit]:
    return [c for c in limits if c.tenant_id == action.tenant_id and c.covers(action.environment_id, action.type)]


def is_limited() -> Exists:
    """An annotation for actions: whether a limit covers them. Costs no statement of its own."""
    place = Q(environment=None) | Q(environment=OuterRef("environment"))
    return Exists(
        ConcurrencyLimit.objects.filter(place, Q(type="") | Q(type=OuterRef("type")), tenant=OuterRef("tenant"))
    )


def limit_facts(limits: Iterable[ConcurrencyLimit]) -> list[dict[str, Any]]:
    """The facts of an event about the limits that an action waits for."""
    return [
        {"environment": str(c.environment_id) if c.environment_id else None, "type": c.type or None, "most": c.most}
        for c in limits
    ]
