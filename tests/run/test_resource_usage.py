"""What an attempt used: kept with the line that ends it, told by its event, shown over the API, summed up."""

import json

import pytest

from actions.lifecycle.allowed import find_action
from actions.models import JournalEntry
from actions.queries.action_detail import serialize_action
from actions.run.transcript import Meter, total_usage, usage_facts
from audit.models import Event
from tests.actions.factory import propose, root_of
from tests.actions.running import carry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


def test_an_attempt_keeps_what_its_thread_used_and_what_its_executor_said(committed_cast, ledger_type):
    def work(ctx):
        (root_of(committed_cast.dev) / "big").write_bytes(b"x" * 300_000)
        (root_of(committed_cast.dev) / "big").read_bytes()
        sum(n * n for n in range(300_000))
        ctx.measure(cpu_s=2.5, peak_memory_bytes=7_000_000, written_bytes=1_000, nonsense=1, read_bytes="many")
        ctx.measure(cpu_s=0.5, peak_memory_bytes=6_000_000, read_bytes=-1)

    ledger_type.before = work
    action = carry(propose(committed_cast, type="ledger", parameters={"steps": 2}, accept=True))
    assert action.state == "completed", action.error
    receipts = list(JournalEntry.objects.filter(action=action, kind="receipt").order_by("pk"))
    for receipt in receipts:
        used = receipt.metrics
        assert 3 < used["cpu_s"] < 4 and 0 < used["duration_s"] < 5
        assert (used["peak_memory_bytes"], used["memory_of"]) == (7_000_000, "step")
        assert 301_000 <= used["written_bytes"] < 400_000 and 300_000 <= used["read_bytes"] < 400_000
        assert (used["log_lines"], used["log_lines_left_out"]) == (1, 0)
    assert JournalEntry.objects.filter(action=action, kind="intent").exclude(metrics=None).count() == 0
    event = Event.objects.filter(subject_id=action.pk, verb="step.done").earliest("seq")
    facts = json.loads(bytes(event.body))["facts"]
    assert facts["cpu_ms"] == round(1000 * receipts[0].metrics["cpu_s"]) and facts["written_bytes"] >= 301_000
    access = committed_cast.access("operator")
    shown = serialize_action(access, find_action(access, action.pk))
    assert shown["steps"][0]["metrics"]["cpu_s"] == receipts[0].metrics["cpu_s"]
    total = shown["metrics"]
    assert total["attempts"] == 2 and total["peak_memory_bytes"] == 7_000_000
    assert total["cpu_s"] == pytest.approx(sum(r.metrics["cpu_s"] for r in receipts))


def test_memory_that_nobody_told_is_the_workers_and_says_so():
    meter = Meter()
    used = meter.read()
    assert used["memory_of"] == "worker" and used["peak_memory_bytes"] > 10_000_000
    assert used["read_bytes"] is not None and used["read_bytes"] < 10_000


def test_every_attempt_counts_and_what_is_unknown_stays_so():
    first = {"duration_s": 1.0, "cpu_s": 0.25, "read_bytes": None, "written_bytes": 5, "peak_memory_bytes": 10}
    second = {"duration_s": 2.0, "cpu_s": 0.5, "read_bytes": None, "written_bytes": None, "peak_memory_bytes": 30}
    total = total_usage([first, {**second, "memory_of": "step"}])
    assert total == {
        "attempts": 2,
        "duration_s": 3.0,
        "cpu_s": 0.75,
        "read_bytes": None,
        "written_bytes": 5,
        "peak_memory_bytes": 30,
        "memory_of": "step",
    }
    assert total_usage([]) is None and usage_facts(None) == {}
