"""System: is the machinery alive, and what is stuck on what?"""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from actions.models import Lease
from actions.pages.operations import system
from tests.cast import Cast
from tests.pages.conftest import Propose
from tests.pages.test_queue import many

pytestmark = pytest.mark.dialect


@pytest.fixture(autouse=True)
def no_ping(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The broker is asked in tests/browser; here its answer is given."""
    cache.clear()
    monkeypatch.setattr(system, "external_status", lambda: [{"name": "Workers", "ok": True, "detail": "w1"}])
    yield
    cache.clear()


def test_live_and_lost_workers_are_told_apart(place: Cast) -> None:
    Lease.objects.create(queue="decide", worker="here:1", expires_at=Now() + timedelta(seconds=60))
    Lease.objects.create(queue="execute", worker="gone:2", expires_at=Now() - timedelta(seconds=60))
    html = place.client("operator").get("/system/").content.decode()
    assert html.count(">Alive<") == 1 and html.count(">Lost<") == 1


def test_what_waits_says_for_what(place: Cast, propose: Propose) -> None:
    propose("prod", title="For people")
    many(place, 1)
    Lease.objects.update(ended_at=Now(), ended_why="the worker stopped")
    html = place.client("operator").get("/system/").content.decode()
    assert "For people" in html and "people who have to decide" in html
    assert "a decide worker: none is alive" in html
    assert "For people" not in place.client("outsider").get("/system/").content.decode()


def test_the_page_costs_the_same_however_much_waits(place: Cast) -> None:
    client, counts = place.client("operator"), []
    for n in (5, 200):
        many(place, n)
        client.get("/system/")
        with CaptureQueriesContext(connection) as seen:
            client.get("/system/")
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 30


def test_what_stands_around_is_asked_through_redis(
    place: Cast, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from time import time

    monkeypatch.undo()
    redis_client.set("interlock:swept_at", time() - 2)
    redis_client.set("interlock:wake_up:decide", 1)
    html = place.client("operator").get("/system/").content.decode()
    assert "wake-ups under way: decide" in html
    assert "no answer" in html  # no worker runs in this test
    assert "every 5 s" in html and "no sweep is known of" not in html
