"""The sign-in throttle: after a few failures a name is refused for a while, whether it exists or not.

Counted in the database, so that all web processes agree, and Redis is not needed. Failures are counted for the name
from one address, and with a higher limit for the name from anywhere: an attacker can delay a known user by a minute at
a time at most.
"""

import hashlib
import hmac
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from audit.database.clock import database_time
from tenants.models import FailedSignIns

FORGOTTEN_AFTER = timedelta(minutes=15)
MAX_DELAY_HERE, MAX_DELAY_ANYWHERE = timedelta(minutes=15), timedelta(minutes=1)
ALLOWED_HERE, ALLOWED_ANYWHERE = 5, 50


def wait_s(purpose: str, name: str, address: str) -> int:
    """For how many seconds this name is still refused; 0 if it may try now. One query."""
    until = FailedSignIns.objects.filter(pk__in=_keys(purpose, name, address)).values_list("refused_until", flat=True)
    now = database_time()
    return max((int((at - now).total_seconds()) + 1 for at in until if at and at > now), default=0)


def count_failure(purpose: str, name: str, address: str) -> bool:
    """Count a failure; True if the name is now refused for a while."""
    here, anywhere = _keys(purpose, name, address)
    now = database_time()
    with transaction.atomic():
        FailedSignIns.objects.filter(last_at__lt=now - timedelta(days=1)).delete()
        refused = [
            _count(here, now, ALLOWED_HERE, MAX_DELAY_HERE),
            _count(anywhere, now, ALLOWED_ANYWHERE, MAX_DELAY_ANYWHERE),
        ]
    return any(refused)


def forget_failures(purpose: str, name: str, address: str) -> None:
    FailedSignIns.objects.filter(pk__in=_keys(purpose, name, address)).delete()


def _count(key: str, now: datetime, allowed: int, max_delay: timedelta) -> bool:
    """30 s at the first failure above the limit, twice as long with each further one. Locks the key's row."""
    FailedSignIns.objects.get_or_create(pk=key, defaults={"last_at": now})
    row = FailedSignIns.objects.select_for_update().get(pk=key)
    row.count = 1 if row.last_at < now - FORGOTTEN_AFTER else row.count + 1
    row.last_at = now
    over = row.count - allowed
    row.refused_until = now + min(timedelta(seconds=30 * 2 ** min(over, 10)), max_delay) if over >= 0 else None
    row.save()
    return row.refused_until is not None


def _keys(purpose: str, name: str, address: str) -> tuple[str, str]:
    """Keyed hashes, so that the table does not reveal which names were tried."""
    return _key(purpose, name, address), _key(purpose, name, "anywhere")


def _key(*parts: str) -> str:
    text = "\x00".join(part.strip().casefold() for part in parts)
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()
