"""
How often one target may be tried again, by all workers together: a bucket of tokens in the database.

Each retry takes one; they come back with time. A target at which much fails at once is thus asked a bounded number of
times more, however many actions would each have retries left. Only retries come here: what does not fail costs nothing.
"""

import hashlib
from datetime import timedelta
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models.functions import Now

from actions.models import Action, RetryBucket
from audit.database.clock import database_time

log = structlog.get_logger(__name__)
TOKENS, PERIOD_S = 20, 300.0
"""So many retries at one target at once, and as many more with every period."""
FORGOTTEN = timedelta(seconds=PERIOD_S)


def bucket_key(action: Action, step: dict[str, Any]) -> str:
    """The target that a step's retries count against: the node that the action names, else what the step touches."""
    node = action.target.get("node", "")
    target = f"node\x00{node}" if node else f"step\x00{step['target']}"
    return hashlib.sha256(f"{action.tenant_id}\x00{action.environment_id}\x00{target}".encode()).hexdigest()


def take(action: Action, step: dict[str, Any]) -> bool:
    """Take a token for one retry; False if none is left just now.

    One short transaction, the bucket's row locked. Where it cannot be told, it is no: a retry that is not made does no
    harm.
    """
    key = bucket_key(action, step)
    try:
        with transaction.atomic():
            full = RetryBucket(key=key, tenant_id=action.tenant_id, tokens=float(TOKENS), at=Now())
            RetryBucket.objects.bulk_create([full], ignore_conflicts=True)
            bucket, now = RetryBucket.objects.select_for_update().get(pk=key), database_time()
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


def forget_full() -> None:
    """For the sweep: drop buckets that have filled up again. One statement."""
    RetryBucket.objects.filter(at__lt=Now() - FORGOTTEN).delete()
