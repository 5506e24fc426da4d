"""Histogram and counters of steps at /metrics: counted by workers, read from Redis, of no tenant."""

import pytest
from django.test import Client

from actions.engine import prometheus_counters
from actions.engine.prometheus_counters import log_turn
from actions.lifecycle.transitions import Transition
from actions.models import Action, JournalEntry

USED = {"duration_s": 0.2, "cpu_s": 0.05, "read_bytes": 10, "written_bytes": None}


@pytest.fixture(autouse=True)
def nothing_counted_yet(redis_client):
    prometheus_counters._unflushed.clear()
    yield
    prometheus_counters._unflushed.clear()


def ended(kind: str = "receipt", simulated: bool = False, **used) -> Transition:
    line = JournalEntry(kind=kind, metrics={**USED, **used})
    return Transition(
        Action(type="modify_files", simulated=simulated), journal_entries=[line, JournalEntry(kind="intent")]
    )


def test_what_workers_count_is_a_histogram_by_type_and_end(db):
    for w in (ended(), ended(duration_s=100.0), ended("failure", duration_s=9_999.0), ended(simulated=True)):
        log_turn(w)
    prometheus_counters.flush_counters()
    prometheus_counters.flush_counters()  # nothing new, nothing twice
    text = Client().get("/metrics").content.decode()
    start = 'interlock_step_duration_seconds_bucket{end="receipt",le='
    assert f'{start}"0.05",type="modify_files"}} 0.0' in text and f'{start}"0.25",type="modify_files"}} 1.0' in text
    assert f'{start}"300.0",type="modify_files"}} 2.0' in text and f'{start}"+Inf",type="modify_files"}} 2.0' in text
    assert 'interlock_step_duration_seconds_count{end="failure",type="modify_files"} 1.0' in text
    assert 'interlock_step_duration_seconds_sum{end="receipt",type="modify_files"} 100.2' in text
    assert 'interlock_step_bytes_total{direction="read",type="modify_files"} 30.0' in text
    assert 'interlock_step_cpu_seconds_total{type="modify_files"} 0.15' in text
    assert 'direction="written"' not in text


def test_without_redis_nothing_is_lost_and_nothing_fails(db, monkeypatch):
    def away():
        raise OSError("no Redis")

    log_turn(ended())
    with monkeypatch.context() as patched:
        patched.setattr(prometheus_counters, "redis_client", away)
        prometheus_counters.flush_counters()
        assert "interlock_step" not in Client().get("/metrics").content.decode()
    prometheus_counters.flush_counters()
    assert prometheus_counters.read_counters()["took"] == {("modify_files", "receipt", "0.25"): 1.0}
