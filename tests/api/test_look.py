"""GET /api/actions/{id}, and waiting for it."""

import threading
import time
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.lifecycle.commit import advance
from actions.models import Action
from tests.api.conftest import a_change


def test_a_completed_action_shows_plan_steps_and_result(program, place, carry):
    operator = program("operator")
    action = operator.propose(accept=True)
    carry()
    now = operator.look(action)
    assert now["state"] == "completed", now
    assert now["plan"]["counts"]["creates"] == 1 and len(now["plan"]["digest"]) == 64
    assert {"score", "tier", "factors"} <= now["plan"]["blast"].keys()
    (step,) = now["steps"]
    assert (step["state"], step["attempts"], step["retry_count"]) == ("done", 1, 0)
    assert step["started_at"] and step["ended_at"]
    assert now["result"]["success"] is True and now["result"]["error"] is None
    assert (now["progress"]["done"], now["progress"]["total"], now["progress"]["runs"]) == (1, 1, 0)
    assert now["requires_approval"] is False and now["verdicts"]
    assert now["allowed"] == ["rollback", "retry"]
    assert now["blocked_by"] == [] and now["completed_at"]


def test_what_an_action_waits_for_is_said_in_words(program, carry):
    operator = program("operator")
    unmatched, matched = operator.propose(), operator.propose("prod")
    carry()
    assert operator.look(unmatched)["blocked_by"] == ["operator must accept the dry-run diff."]
    assert operator.look(unmatched)["allowed"] == ["accept", "cancel"]
    now = operator.look(matched)
    assert now["blocked_by"] == ["2 more to approve as approver."] and now["allowed"] == ["cancel"]
    assert now["approvals"] | {"expires_at": 0} == {
        "kind": "approval",
        "state": "open",
        "digest": now["plan"]["digest"],
        "needed": 2,
        "have": 0,
        "required_approvals": [{"role": "approver", "count": 2, "filled": 0}],
        "decisions": [],
        "change_requests": [],
        "expires_at": 0,
        "suggested": now["approvals"]["suggested"],
    }
    assert program("approver").look(matched)["allowed"] == ["approve", "reject", "request_changes"]
    assert program("auditor").look(matched)["allowed"] == []


def test_seed_vocabulary_comes_out_when_asked_for(program, carry):
    operator = program("operator")
    action = operator.propose("prod")
    carry()
    assert operator.get(f"/api/actions/{action['id']}", vocabulary="seed")[1]["state"] == "pending"
    assert operator.look(action)["state"] == "awaiting_approval"


@pytest.mark.parametrize("id", [uuid.UUID(int=7), "nonsense", "%00", "1"])
def test_an_id_that_leads_nowhere_is_404(program, id):
    status, problem = program("operator").get(f"/api/actions/{id}")
    assert (status, problem["code"]) == (404, "not_found")


def test_one_look_costs_a_fixed_number_of_queries(program, place, carry):
    program("operator").propose("prod")
    carry()
    small = Action.objects.get()
    changes = [{"path": f"f{n}.txt", "operation": "create", "content": "x\n"} for n in range(12)]
    program("operator").propose("prod", parameters={"changes": changes})
    carry()
    large = Action.objects.exclude(pk=small.pk).get()
    for name in ("approver", "approver2"):
        digest = large.plan.digest
        program(name).post(f"/api/actions/{large.pk}/approve", {"approved": True, "digest": digest})
    carry()
    counts = []
    for action in (small, large):
        reader = program("security")
        reader.get("/api/actions")
        with CaptureQueriesContext(connection) as seen:
            assert reader.get(f"/api/actions/{action.pk}")[0] == 200
        counts.append(len(seen))
    assert Action.objects.get(pk=large.pk).state == "completed"
    assert counts[1] <= counts[0] + 1 <= 15, counts  # one more: the ledger, once it has begun


def test_waiting_ends_at_once_when_there_is_nothing_to_wait_for(program, carry):
    operator = program("operator")
    action = operator.propose("prod")
    carry()
    started = time.monotonic()
    for query in ({"state": "pending"}, {}):
        status, now = operator.get(f"/api/actions/{action['id']}", wait_s=20, **query)
        assert (status, now["state"]) == (200, "awaiting_approval")
    assert time.monotonic() - started < 2


def test_waiting_is_over_when_the_time_is(program):
    operator = program("operator")
    action = operator.propose()
    started = time.monotonic()
    status, now = operator.get(f"/api/actions/{action['id']}", wait_s=0.3, state="completed")
    assert (status, now["state"]) == (200, "queued")
    assert 0.25 < time.monotonic() - started < 2


@pytest.mark.parametrize("query", [{"wait_s": 26}, {"wait_s": -1}, {"wait_s": "x"}, {"state": "done"}, {"stat": "x"}])
def test_a_wait_that_makes_no_sense_is_refused(program, query):
    operator = program("operator")
    action = operator.propose()
    status, problem = operator.get(f"/api/actions/{action['id']}", **query)
    assert status == 422 and problem["issues"][0]["field"] == next(iter(query))


@pytest.mark.django_db(transaction=True)
def test_who_waits_is_woken_by_the_change_and_not_by_the_clock(program):
    operator = program("operator")
    action = operator.propose()

    def withdraw() -> None:
        time.sleep(0.5)
        advance([Action.objects.get(pk=action["id"]).pk], "cancel", by="system:test")
        connection.close()

    thread = threading.Thread(target=withdraw)
    thread.start()
    started = time.monotonic()
    status, now = operator.get(f"/api/actions/{action['id']}", wait_s=20, state="completed")
    took = time.monotonic() - started
    thread.join()
    assert (status, now["state"]) == (200, "cancelled")
    assert took < 3, took


def test_a_change_that_is_over_before_the_wait_began_is_not_waited_for(program):
    operator = program("operator")
    action = operator.propose(**{k: v for k, v in a_change().items() if k == "reason"})
    advance([uuid.UUID(action["id"])], "cancel", by="system:test")
    assert operator.get(f"/api/actions/{action['id']}", wait_s=20)[1]["state"] == "cancelled"
