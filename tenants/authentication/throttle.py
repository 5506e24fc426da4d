"""Slow down guessing: after a few failures a name is refused for a while, whether it exists or not.

Counted in the database, so that all web processes see the same, and nothing is let through when Redis is away. Failures
are counted for the name from one address, and, with more patience, for the name from anywhere: a stranger can delay
whom they know by name, by a minute at a time, and no more.
"""

import hashlib
import hmac
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from audit.database.clock import database_time
from tenants.models import FailedSignIns

FORGOTTEN_AFTER = timedelta(minutes=15)
LONGEST_HERE, LONGEST_ANYWHERE = timedelta(minutes=15), timedelta(minutes=1)
PATIENCE_HERE, PATIENCE_ANYWHERE = 5, 50


def wait_s(purpose: str, name: str, address: str) -> int:
    """For how many seconds this name is refused now; 0 when it may try. One query."""
    until = FailedSignIns.objects.filter(pk__in=_keys(purpose, name, address)).values_list("refused_until", flat=True)
    now = database_time()
    return max((int((at - now).total_seconds()) + 1 for at in until if at and at > now), default=0)


def count_failure(purpose: str, name: str, address: str) -> bool:
    """Remember a failure; True if from now on the name is refused for a while."""
    here, anywhere = _keys(purpose, name, address)
    now = database_time()
    with transaction.atomic():
        FailedSignIns.objects.filter(last_at__lt=now - timedelta(days=1)).delete()
        refused = [
            _count(here, now, PATIENCE_HERE, LONGEST_HERE),
            _count(anywhere, now, PATIENCE_ANYWHERE, LONGEST_ANYWHERE),
        ]
    return any(refused)


def forget_failures(purpose: str, name: str, address: str) -> None:
    FailedSignIns.objects.filter(pk__in=_keys(purpose, name, address)).delete()


def _count(key: str, now: datetime, patience: int, longest: timedelta) -> bool:
    """30 s at the first failure too many, twice as long with each further one. Locks the key's row."""
    FailedSignIns.objects.get_or_create(pk=key, defaults={"last_at": now})
    row = FailedSignIns.objects.select_for_update().get(pk=key)
    row.count = 1 if row.last_at < now - FORGOTTEN_AFTER else row.count + 1
    row.last_at = now
    over = row.count - patience
    row.refused_until = now + min(timedelta(seconds=30 * 2 ** min(over, 10)), longest) if over >= 0 else None
    row.save()
    return row.refused_until is not None


def _keys(purpose: str, name: str, address: str) -> tuple[str, str]:
    """Keyed, so that the table tells nobody which names were tried."""
    return _key(purpose, name, address), _key(purpose, name, "anywhere")


def _key(*parts: str) -> str:
    text = "\x00".join(part.strip().casefold() for part in parts)
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()
