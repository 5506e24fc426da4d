"""Whole stories through HTTP only."""

import uuid
from pathlib import Path

import pytest

from audit.models import Event
from tests.api.conftest import a_change

pytestmark = pytest.mark.django_db(transaction=True)


def verbs_of(action) -> list[str]:
    return list(Event.objects.filter(subject_id=action["id"]).order_by("seq").values_list("verb", flat=True))


def test_a_change_on_prod_needs_two_other_people_who_saw_exactly_this_plan(program, place, carry):
    operator, file = program("operator"), _root(place.prod) / "notes.txt"
    action = operator.propose("prod")
    carry()
    here, digest = f"/api/actions/{action['id']}", operator.look(action)["plan"]["digest"]
    yes = {"approved": True, "digest": digest}

    status, problem = operator.post(f"{here}/approve", yes)
    assert (status, problem["code"]) == (403, "not_eligible") and problem["remedies"]
    assert program("agent").post(f"{here}/approve", yes)[0] == 403
    assert program("security").post(f"{here}/approve", yes)[0] == 403
    status, problem = program("approver").post(f"{here}/approve", {**yes, "digest": "0" * 64})
    assert (status, problem["code"], problem["current_digest"]) == (409, "stale_digest", digest)
    status, problem = program("approver").post(f"{here}/approve", {"approved": True})
    assert (status, problem["code"]) == (422, "digest_needed")

    status, now = program("approver").post(f"{here}/approve", yes)
    assert (status, now["state"], now["approvals"]["have"]) == (200, "awaiting_approval", 1)
    assert [d["by"]["username"] for d in now["approvals"]["decisions"]] == ["approver"]
    assert now["blocked_by"] == ["1 more to approve as approver."] and now["allowed"] == ["withdraw"]
    assert program("approver").post(f"{here}/approve", yes)[0] == 409
    carry()
    assert not file.exists()

    status, now = program("approver2").post(f"{here}/approve", yes)
    assert (status, now["state"]) == (200, "approved") and now["approved_at"]
    carry()
    assert file.read_text() == "hello\n"
    assert operator.look(action)["state"] == "completed"
    assert program("approver2").post(f"{here}/approve", yes)[0] == 409


def test_a_rejection_needs_a_comment_and_no_fresh_digest_and_ends_it(program, place, carry):
    action = program("operator").propose("prod")
    carry()
    here = f"/api/actions/{action['id']}/approve"
    status, problem = program("approver").post(here, {"approved": False})
    assert (status, problem["code"]) == (422, "comment_needed")
    status, now = program("approver").post(here, {"approved": False, "comment": "not on a Friday"})
    assert (status, now["state"]) == (200, "rejected")
    assert now["result"]["success"] is False and now["result"]["error"]["code"] == "rejected"
    assert now["approvals"]["decisions"][0]["comment"] == "not on a Friday"
    assert not (_root(place.prod) / "notes.txt").exists()


def test_where_no_approval_is_asked_the_requester_accepts_the_diff(program, place, carry):
    operator = program("operator")
    action = operator.propose()
    carry()
    here, digest = f"/api/actions/{action['id']}", operator.look(action)["plan"]["digest"]
    assert not (_root(place.dev) / "notes.txt").exists()
    assert operator.post(f"{here}/approve", {"approved": True, "digest": digest})[1]["code"] == "wrong_state"
    assert program("approver").post(f"{here}/accept", {"digest": digest})[0] == 403
    assert operator.post(f"{here}/accept", {"digest": "f" * 64})[1]["code"] == "stale_digest"
    assert operator.post(f"{here}/accept", {})[0] == 422
    status, now = operator.post(f"{here}/accept", {"digest": digest})
    assert (status, now["state"]) == (200, "approved")
    carry()
    assert operator.look(action)["state"] == "completed"
    assert operator.post(f"{here}/accept", {"digest": digest})[0] == 409


def test_a_file_changed_after_approval_voids_it_and_nothing_runs(program, place, carry):
    operator, file = program("operator"), _root(place.prod) / "app.conf"
    file.write_text("a=1\n")
    changes = [{"path": "app.conf", "operation": "modify", "content": "a=2\n"}]
    action = operator.propose("prod", parameters={"changes": changes})
    carry()
    here, digest = f"/api/actions/{action['id']}", operator.look(action)["plan"]["digest"]
    yes = {"approved": True, "digest": digest}
    program("approver").post(f"{here}/approve", yes)
    file.write_text("a=3\n")
    assert program("approver2").post(f"{here}/approve", yes)[0] == 200
    carry()
    now = operator.look(action)
    assert file.read_text() == "a=3\n"
    assert (now["state"], now["plan"]["version"], now["approvals"]["have"]) == ("awaiting_approval", 2, 0)
    assert now["plan"]["digest"] != digest
    assert program("approver").post(f"{here}/approve", yes)[1]["code"] == "stale_digest"
    assert operator.get(f"{here}/changes", version=1)[1]["digest"] == digest


def test_withdrawing_before_it_began(program, place, carry):
    operator = program("operator")
    action = operator.propose("prod")
    carry()
    here = f"/api/actions/{action['id']}"
    assert program("auditor").post(f"{here}/cancel", {})[0] == 403
    status, now = operator.post(f"{here}/cancel", {"reason": "changed my mind"})
    assert (status, now["state"], now["allowed"]) == (200, "cancelled", ["retry"])
    assert operator.post(f"{here}/cancel", {})[1]["code"] == "wrong_state"
    assert operator.post(f"{here}/abort", {})[0] == 409
    assert operator.post(f"{here}/resume", {"how": "continue"})[0] == 409


def test_a_completed_change_is_undone_by_a_linked_action_through_the_gate(program, place, carry):
    operator, file = program("operator"), _root(place.dev) / "notes.txt"
    action = operator.propose(accept=True)
    carry()
    assert file.exists()
    status, undo = operator.post(f"/api/actions/{action['id']}/rollback", {"reason": "it was wrong"})
    assert status == 201 and undo["links"]["undo_of"] == f"/api/actions/{action['id']}"
    carry()
    digest = operator.look(undo)["plan"]["digest"]
    assert file.exists()
    operator.post(f"/api/actions/{undo['id']}/accept", {"digest": digest})
    carry()
    assert operator.look(undo)["state"] == "completed" and not file.exists()
    assert operator.look(action)["links"]["undos"] == [f"/api/actions/{undo['id']}"]


def test_an_ended_action_is_proposed_again_as_a_new_one(program, place, carry):
    operator = program("operator")
    action = operator.propose("prod")
    assert operator.post(f"/api/actions/{action['id']}/retry", {})[1]["code"] == "wrong_state"
    operator.post(f"/api/actions/{action['id']}/cancel", {})
    status, again = operator.post(f"/api/actions/{action['id']}/retry", {"reason": "now"})
    assert status == 201 and again["id"] != action["id"] and again["state"] == "queued"
    assert again["links"]["retry_of"] == f"/api/actions/{action['id']}" and again["reason"] == "now"
    assert operator.look(action)["links"]["retries"] == [f"/api/actions/{again['id']}"]


def test_a_preview_shows_the_plan_and_leaves_nothing(program, place):
    status, found = program("operator").post("/api/actions/dry-run", a_change("prod"))
    assert status == 200
    assert found["verdict"]["outcome"] == "require_approval" and found["verdict"]["required_approvals"] == [
        {"role": "approver", "count": 2}
    ]
    assert found["changes"][0]["operation"] == "create" and "+hello" in found["changes"][0]["diff"]
    assert found["more_changes"] == 0 and len(found["plan"]["steps"]) == 1
    assert not (_root(place.prod) / "notes.txt").exists()
    assert not Event.objects.filter(subject_kind="action").exists()
    wrong = a_change("prod", path="../escape")
    status, problem = program("operator").post("/api/actions/dry-run", wrong)
    assert status == 422 and problem["issues"][0]["field"].startswith("parameters.")
    assert program("approver").post("/api/actions/dry-run", a_change("prod"))[0] == 403


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/chat", "post"),
        ("/api/models/switch", "post"),
        ("/api/workflows", "post"),
        (f"/api/workflows/{uuid.UUID(int=7)}", "get"),
        (f"/api/actions/{uuid.UUID(int=7)}/break-glass", "post"),
    ],
)
def test_what_later_work_builds_says_so(program, path, method):
    status, problem = getattr(program("operator"), method)(path)
    assert (status, problem["code"]) == (501, "not_built")


def test_action_types_come_with_their_schema(program):
    status, page = program("auditor").get("/api/action-types")
    assert status == 200
    types = {it["name"]: it for it in page["items"]}
    assert {"modify_files", "collect_diagnostics", "rerun_healthcheck"} <= types.keys()
    assert types["modify_files"]["schema"]["type"] == "object"
    assert {"security_level", "risk_class", "title", "description"} <= types["modify_files"].keys()


def _root(environment):
    return Path(environment.root)
