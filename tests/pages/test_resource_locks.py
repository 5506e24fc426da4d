"""Locks on the system page: who has what, since when, and who waits."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.models import Action, ResourceLock
from actions.pages.operations.system import MAX_LOCKS, fetch_locks
from tests.actions.factory import an_action
from tests.cast import Cast

pytestmark = pytest.mark.django_db


def claim(cast: Cast, action: Action, name: str, held: bool = True) -> ResourceLock:
    place = action.environment
    return ResourceLock.objects.create(
        key=f"{place.pk.hex}:{name}"[:64],
        tenant=place.tenant,
        environment=place,
        kind="file",
        name=name,
        action=action,
        held=held,
    )


def test_those_that_somebody_waits_for_come_first(cast):
    holder, others = an_action(cast, "in_progress", title="Holds both"), []
    claim(cast, holder, "quiet.conf"), claim(cast, holder, "busy.conf")
    for n in range(5):
        others.append(an_action(cast, "approved", title=f"Waits {n}"))
        claim(cast, others[-1], "busy.conf", held=False)
    busy, quiet = fetch_locks(cast.access("operator"))["locks"]
    assert (busy.claim.name, busy.count, busy.more, len(busy.waiting)) == ("busy.conf", 5, 2, 3)
    assert (quiet.claim.name, quiet.count, quiet.waiting) == ("quiet.conf", 0, [])
    page = cast.client("operator").get("/system/").content.decode()
    assert "Holds both" in page and "Waits 0" in page and "and 2 more" in page


def test_another_tenants_locks_are_nobodys(cast):
    claim(cast, an_action(cast, "held", environment=cast.globex_prod, tenant=cast.globex), "theirs.conf")
    assert fetch_locks(cast.access("operator"))["locks"] == []
    assert "No resource is locked" in cast.client("operator").get("/system/").content.decode()


def test_many_are_cut_and_cost_the_same(cast):
    counts: list[Any] = []
    for n in (2, 60):
        for k in range(n):
            action = an_action(cast, "in_progress")
            claim(cast, action, f"{n}-{k}.conf")
            claim(cast, an_action(cast, "approved"), f"{n}-{k}.conf", held=False)
        with CaptureQueriesContext(connection) as seen:
            found = fetch_locks(cast.access("operator"))
        counts.append(len(seen))
    assert counts[0] == counts[1]
    assert len(found["locks"]) == MAX_LOCKS and found["locks_cut"]
