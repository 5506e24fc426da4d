"""How fast a backlog is sealed and verified. Prints its figures: `pytest -s -m soak tests/audit/seals/test_rate.py`."""

import resource
import time

import pytest
from django.db import transaction

from audit.database.clock import database_time
from audit.log.events import NO_EVENTS, append_events
from audit.models import Event
from audit.seals import keys
from audit.seals.sealer import seal_all
from audit.seals.tree import iterate_proofs, newest_head
from audit.verification.log import verify_tenant_log
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak, pytest.mark.timeout(1800)]
EVENTS, SUBJECTS = 100_000, 1_000


def timed(what, count, function):
    began = time.monotonic()
    result = function()
    spent = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"\n{what}: {count} in {spent:.1f} s, {count / spent:,.0f}/s; peak {peak} MB", end="")
    return result


def test_a_backlog_of_a_hundred_thousand_events():
    keys.signing_key(TENANT)
    subjects, heads = [a_subject("deed") for _ in range(SUBJECTS)], {}
    for n in range(EVENTS // SUBJECTS):
        with transaction.atomic():
            entries = [an_entry(subject, facts={"n": n, "text": "x" * 200}) for subject in subjects]
            heads = append_events(entries, {s.id: heads.get(s.id, NO_EVENTS) for s in subjects}, database_time())
    assert timed("sealed", EVENTS, seal_all).events == EVENTS + 1
    verdict = timed("verified", EVENTS, lambda: verify_tenant_log(TENANT))
    assert verdict.ok and verdict.events == Event.objects.count()
    head = newest_head(TENANT)
    count = timed(
        "proved", 2_000, lambda: sum(1 for s in subjects[:20] for _ in iterate_proofs(TENANT, s.id, 100, head))
    )
    assert count == 2_000
