"""What else can become of a proposal, through nothing but HTTP."""

import threading
import uuid
from collections import Counter
from typing import Any

import pytest

from tests.stories.conftest import Product, edit

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""One correlation id for two requests, which otherwise would be all that tells their answers apart."""


def events_of(product: Product, action: Any) -> list[Any]:
    return product("auditor").get(f"/api/actions/{action['id']}/events?limit=500").json["items"]


def verbs_of(product: Product, action: Any) -> list[str]:
    return [event["verb"] for event in events_of(product, action)]


def a_note(product: Product, name: str, text: str = "hello\n") -> dict[str, Any]:
    """Parameters that create a file, or change it if it is there."""
    return edit(name, text, "modify" if product.file(name).exists() else "create")


def approved_by_two(product: Product, action: Any) -> Any:
    assert product.decide("approver", action).status == 200
    assert product.decide("approver2", action).status == 200
    return product.settled(action)


def test_a_file_changed_after_the_approvals_voids_them_and_nothing_is_executed(product: Product) -> None:
    file = product.file("drifting.conf")
    file.write_text("a = 1\n")
    action = product.propose(parameters=edit("drifting.conf", "a = 2\n"))
    assert product.decide("approver", action).status == 200
    file.write_text("a = 3  # by hand\n")
    assert product.decide("approver2", action).status == 200

    now = product.settled(action)
    assert (now["state"], now["approvals"]["have"], now["plan"]["version"]) == ("awaiting_approval", 0, 2)
    assert now["plan"]["digest"] != action["plan"]["digest"]
    assert file.read_text() == "a = 3  # by hand\n"
    verbs = verbs_of(product, action)
    assert "action.reopen" in verbs and "action.start" not in verbs and "step.done" not in verbs
    drift = next(e for e in events_of(product, action) if e["verb"] == "preflight.drifted")
    assert drift["facts"]["from"] == action["plan"]["digest"]
    assert [changed["target"] for changed in drift["facts"]["changed"]] == ["drifting.conf"]

    page = product.signed_in("approver").get(f"/actions/{action['id']}/")
    assert page.status == 200
    assert "The target drifted after approval." in page.text and "<code>drifting.conf</code>" in page.text
    assert "by hand" in page.text, "the diff shows the file as it is now"

    late = product.decide("approver", action)
    assert (late.status, late.json["code"]) == (409, "stale_digest"), "the old plan can no longer be approved"
    done = approved_by_two(product, now)
    assert (done["state"], file.read_text()) == ("completed", "a = 2\n")


def test_one_no_ends_it_with_the_reason_and_nothing_is_executed(product: Product) -> None:
    action = product.propose(parameters=a_note(product, "unwanted.txt"))
    assert product.decide("approver2", action).status == 200
    silent = product.decide("approver", action, approved=False)
    assert (silent.status, silent.json["code"]) == (422, "comment_needed")
    ended = product.decide("approver", action, approved=False, comment="Not on a Friday.")
    assert (ended.status, ended.json["state"], ended.json["result"]["success"]) == (200, "rejected", False)
    assert product.decide("approver2", action).status == 409
    assert product.settled(action)["approvals"]["decisions"][-1]["comment"] == "Not on a Friday."
    assert verbs_of(product, action)[-2:] == ["approval.rejected", "action.reject"]
    assert not product.file("unwanted.txt").exists()


def test_who_proposed_it_may_withdraw_it_and_then_it_stays_withdrawn(product: Product) -> None:
    action = product.propose(parameters=a_note(product, "withdrawn.txt"))
    here = f"/api/actions/{action['id']}"
    refused = product("auditor").post(f"{here}/cancel", {"reason": "mischief"})
    assert (refused.status, refused.json["code"]) == (403, "not_allowed")
    assert product("operator").post(f"{here}/cancel", {"reason": "A typo."}).json["state"] == "cancelled"
    for verb in ("cancel", "abort", "rollback", "resume"):
        again = product("operator").post(f"{here}/{verb}", {"reason": "again"})
        assert again.status == 409 and again.json["detail"], verb
    assert product.decide("approver", action).status == 409
    assert (product.settled(action)["state"], product.file("withdrawn.txt").exists()) == ("cancelled", False)


def test_a_completed_change_is_undone_only_through_the_gate_and_restores_bytes_and_mode(product: Product) -> None:
    file = product.file("undone.conf")
    file.write_bytes(b"first \xe2\x82\xac\r\nno newline at the end")
    file.chmod(0o640)
    action = product.propose(parameters=edit("undone.conf", "second\n"))
    assert approved_by_two(product, action)["state"] == "completed" and file.read_text() == "second\n"

    made = product("operator").post(f"/api/actions/{action['id']}/rollback", {"reason": "It made things worse."})
    assert (made.status, made.json["links"]["undo_of"]) == (201, f"/api/actions/{action['id']}")
    undo = product.settled(made.json)
    assert (undo["state"], undo["approvals"]["needed"], undo["approvals"]["have"]) == ("awaiting_approval", 2, 0)
    assert file.read_text() == "second\n", "asking for an undo undoes nothing"
    assert product.decide("operator", undo).status == 403
    assert approved_by_two(product, undo)["state"] == "completed"
    assert file.read_bytes() == b"first \xe2\x82\xac\r\nno newline at the end"
    assert file.stat().st_mode & 0o777 == 0o640
    origin = product.settled(action)
    assert (origin["state"], origin["links"]["undos"]) == ("completed", [f"/api/actions/{undo['id']}"])


def test_an_ended_action_is_retried_as_a_new_one_that_needs_new_approvals(product: Product) -> None:
    action = product.propose(parameters=a_note(product, "retried.txt"))
    early = product("operator").post(f"/api/actions/{action['id']}/retry", {"reason": "impatience"})
    assert (early.status, early.json["code"]) == (409, "wrong_state")
    assert product.decide("approver", action, approved=False, comment="Say why.").status == 200
    made = product("operator").post(f"/api/actions/{action['id']}/retry", {"reason": "Support asked for it."})
    assert (made.status, made.json["links"]["retry_of"]) == (201, f"/api/actions/{action['id']}")
    again = product.settled(made.json)
    assert (again["approvals"]["have"], again["reason"]) == (0, "Support asked for it.")
    assert approved_by_two(product, again)["state"] == "completed"
    assert product.file("retried.txt").read_text() == "hello\n"
    assert product.settled(action)["state"] == "rejected"


def test_a_key_stands_for_one_submission_however_often_it_is_sent(product: Product) -> None:
    key, made = f"story-{uuid.uuid4()}", []
    body = {"type": "collect_diagnostics", "environment": "dev", "reason": "once", "parameters": {}}

    def submit() -> None:
        made.append(product("operator").post("/api/actions", body, Idempotency_Key=key))

    threads = [threading.Thread(target=submit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Counter(answer.status for answer in made) == {201: 1, 200: 9}
    assert len({answer.json["id"] for answer in made}) == 1
    other = product("operator").post("/api/actions", {**body, "reason": "twice"}, Idempotency_Key=key)
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    agents = product("agent").post("/api/actions", body, Idempotency_Key=key)
    assert agents.status == 201 and agents.json["id"] != made[0].json["id"], "keys are per principal"
    assert product.settled(made[0].json)["state"] == "completed"


@pytest.mark.parametrize("verb", ["", "/plan.json", "/plan.md", "/changes", "/events", "/log", "/evidence"])
def test_an_outsider_reads_of_a_foreign_action_what_they_read_of_none(product: Product, verb: str) -> None:
    action = product("operator").get("/api/actions?state=rejected&limit=1").json["items"][0]
    foreign, unknown = (
        product("outsider").get(f"/api/actions/{pk}{verb}", traceparent=TRACE) for pk in (action["id"], uuid.uuid4())
    )
    assert (foreign.status, unknown.status) == (404, 404)
    assert foreign.body == unknown.body


@pytest.mark.parametrize("verb", ["accept", "approve", "cancel", "abort", "rollback", "retry", "resume"])
def test_an_outsider_does_to_a_foreign_action_what_they_do_to_none(product: Product, verb: str) -> None:
    action = product("operator").get("/api/actions?state=rejected&limit=1").json["items"][0]
    body: dict[str, Any] = {
        "accept": {"digest": "0" * 64},
        "approve": {"approved": False, "comment": "no"},
        "resume": {"how": "continue"},
    }.get(verb, {"reason": "mischief"})
    path = "/api/actions/{}/" + verb
    foreign, unknown = (
        product("outsider").post(path.format(pk), body, traceparent=TRACE) for pk in (action["id"], uuid.uuid4())
    )
    assert (foreign.status, unknown.status) == (404, 404)
    assert foreign.body == unknown.body
    assert product.settled(action, "auditor")["seq"] == action["seq"]
