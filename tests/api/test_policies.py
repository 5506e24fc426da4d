"""Rules over HTTP: drafted by who administers, checked as they are typed, in force only through an approved action."""

import json
from typing import Any

import pytest

from approvals.models import MatrixDraft, PolicyVersion
from approvals.policies.active_policies import active_policies_for
from approvals.policies.matrix import matrix_for
from audit.models import Event
from tests.policies.factory import TWO, backtested, drafted, published

WORDING = {"expression": "plan.deletes > 0", "effect": "deny", "message": "Nothing is deleted."}
WHY = {"environment": "prod", "reason": "It happened twice."}


def in_force(place) -> list[tuple[str, int]]:
    return [(rule.slug, rule.version) for rule in active_policies_for([place.acme.pk])[place.acme.pk]]


@pytest.fixture
def decide(program, carry):
    """Have these people approve an action, and let workers carry it."""

    def go(action: Any, *names: str) -> Any:
        carry()
        for name in names:
            now = program(name).look(action)
            body = {"approved": True, "digest": now["plan"]["digest"], "comment": ""}
            assert program(name).post(f"/api/actions/{action['id']}/approve", body)[0] == 200
        carry()
        return program("admin").look(action)

    return go


def test_a_draft_comes_back_with_its_text(program, place):
    admin = program("admin")
    status, made = admin.post("/api/policies", {"slug": "no-deletes", **WORDING})
    assert (status, made["state"], made["version"], made["author"]) == (201, "draft", 1, "admin")
    assert "expression: plan.deletes > 0\n" in made["yaml"]
    status, row = admin.get(f"/api/policies/{made['policy_id']}")
    assert (status, row["in_force"], [v["id"] for v in row["versions"]]) == (200, None, [made["id"]])
    status, second = admin.post(f"/api/policies/{made['policy_id']}/drafts", {**WORDING, "effect": "warn"})
    assert (status, second["version"]) == (201, 2)
    (item,) = admin.get("/api/policies")[1]["items"]
    assert (item["slug"], len(item["drafts"]), item["is_kept_here"]) == ("no-deletes", 2, True)
    assert in_force(place) == []


def test_a_draft_is_reworded_and_given_up(program, place):
    version, admin = drafted(place.acme), program("admin")
    address = f"/api/policies/drafts/{version.pk}"
    sent = admin.client.put(address, {**WORDING, "mode": "shadow"}, content_type="application/json")
    assert (sent.status_code, sent.json()["mode"]) == (200, "shadow")
    status, gone = admin.post(f"{address}/abandon")
    assert (status, gone["state"]) == (200, "abandoned")
    sent = admin.client.put(address, WORDING, content_type="application/json")
    assert (sent.status_code, sent.json()["code"]) == (409, "not_a_draft")


def test_faults_have_their_line_and_column(program):
    admin = program("admin")
    status, problem = admin.post("/api/policies", {"slug": "x", **WORDING, "expression": "true &&\n plan.nothing > 0"})
    assert (status, problem["code"]) == (422, "invalid")
    assert [(i["field"], i["line"]) for i in problem["issues"]] == [("expression", 2)]
    assert not PolicyVersion.objects.exists()
    status, checked = admin.post("/api/policies/check", {"expression": "plan.deletes > "})
    assert (status, checked["ok"]) == (200, False)
    assert checked["issues"][0]["column"] > 1
    assert admin.post("/api/policies/check", {"expression": "plan.deletes > 0"})[1] == {"ok": True, "issues": []}


def test_the_facts_are_documented(program):
    status, facts = program("operator").get("/api/policies/facts")
    assert (status, facts["version"]) == (200, "interlock.facts/1")
    assert {"name": "plan.deletes", "kind": "int", "what": "how many resources it deletes"} in facts["items"]


@pytest.mark.parametrize("name", ["operator", "approver", "security", "auditor", "agent"])
def test_only_who_administers_drafts_checks_and_proposes(program, place, name):
    caller, version = program(name), backtested(drafted(place.acme))
    draft = backtested(MatrixDraft.objects.create(tenant=place.acme, environment=place.prod, rows={"low": []}))
    for path, body in (
        ("/api/policies", {"slug": "mine", **WORDING}),
        (f"/api/policies/{version.policy_id}/drafts", WORDING),
        (f"/api/policies/drafts/{version.pk}/abandon", {}),
        ("/api/policies/check", {"expression": "true"}),
        ("/api/matrix/drafts", {"environment": "prod", "rows": {"low": TWO}}),
        (f"/api/policies/drafts/{version.pk}/propose", WHY),
        (f"/api/matrix/drafts/{draft.pk}/propose", {"reason": "because"}),
        ("/api/actions", {"type": "config_change", **WHY, "parameters": {"kind": "policy", "draft": str(version.pk)}}),
    ):
        status, problem = caller.post(path, body)
        assert status == 403, (path, problem)
    assert PolicyVersion.objects.get().state == "draft"
    assert not Event.objects.filter(subject_kind="action").exists()


def test_what_is_anothers_is_not_there(program, place):
    theirs = drafted(place.globex, "theirs")
    admin = program("admin")
    assert admin.get("/api/policies")[1]["items"] == []
    for path, body in (
        (f"/api/policies/{theirs.policy_id}/drafts", WORDING),
        (f"/api/policies/drafts/{theirs.pk}/propose", WHY),
        (f"/api/policies/{theirs.policy_id}/retire", WHY),
    ):
        assert admin.post(path, body)[0] == 404
    status, problem = admin.post(
        "/api/actions",
        {
            "type": "config_change",
            **WHY,
            "parameters": {"kind": "policy", "draft": str(theirs.pk)},
        },
    )
    assert (status, problem["issues"][0]["field"]) == (422, "parameters.draft")


def test_a_global_policy_is_read_everywhere_and_kept_at_home(program, place):
    version = published(place.globex, "everywhere", everywhere=True)
    hidden = drafted(place.globex, "everywhere", everywhere=True, effect="warn")
    admin = program("admin")
    (item,) = admin.get("/api/policies")[1]["items"]
    assert (item["is_global"], item["is_kept_here"], item["in_force"]["id"]) == (True, False, str(version.pk))
    assert item["drafts"] == []
    assert len(admin.get(f"/api/policies/{version.policy_id}")[1]["versions"]) == 1
    assert admin.post(f"/api/policies/{version.policy_id}/retire", WHY)[0] == 404
    assert admin.post(f"/api/policies/drafts/{hidden.pk}/propose", WHY)[0] == 404
    assert admin.post("/api/policies", {"slug": "mine", "everywhere": True, **WORDING})[0] == 403


@pytest.mark.django_db(transaction=True)
def test_a_policy_is_published_by_an_approved_action_and_taken_back_by_another(program, place, decide):
    admin = program("admin")
    made = admin.post("/api/policies", {"slug": "no-deletes", **WORDING})[1]
    backtested(PolicyVersion.objects.get())
    status, action = admin.post(f"/api/policies/drafts/{made['id']}/propose", WHY)
    assert (status, action["type"], action["security_level"]) == (201, "config_change", "critical")
    waiting = decide(action, "approver")
    assert (waiting["state"], in_force(place)) == ("awaiting_approval", [])
    done = decide(action, "approver2")
    assert (done["state"], in_force(place)) == ("completed", [("no-deletes", 1)])
    event = Event.objects.get(verb="policy.published")
    facts = json.loads(bytes(event.body))["facts"]
    assert (event.actor, facts["after"]["version"]) == ("system:execute", 1)

    status, undo = admin.post(f"/api/actions/{action['id']}/rollback", {"reason": "Too strict."})
    assert status == 201, undo
    assert decide(undo, "approver", "approver2")["state"] == "completed"
    assert in_force(place) == []
    assert PolicyVersion.objects.get().state == "retired"


@pytest.mark.django_db(transaction=True)
def test_a_policy_is_retired_by_an_approved_action(program, place, decide):
    version, admin = backtested(published(place.acme), "retire"), program("admin")
    status, action = admin.post(f"/api/policies/{version.policy_id}/retire", WHY)
    assert status == 201
    assert in_force(place) == [("no-deletes", 1)]
    assert decide(action, "approver", "approver2")["state"] == "completed"
    assert in_force(place) == []
    assert admin.post(f"/api/policies/{version.policy_id}/retire", WHY)[0] == 409


@pytest.mark.django_db(transaction=True)
def test_a_matrix_is_replaced_by_an_approved_action_where_it_lies(program, place, decide):
    admin, rows = program("admin"), {"low": [], "critical": TWO}
    status, draft = admin.post("/api/matrix/drafts", {"environment": "prod", "rows": rows})
    assert (status, draft["state"]) == (201, "draft")
    assert admin.get("/api/matrix/drafts")[1]["items"] == [draft]
    sent = admin.client.put(f"/api/matrix/drafts/{draft['id']}", {"rows": rows}, content_type="application/json")
    assert sent.status_code == 200
    backtested(MatrixDraft.objects.get())
    status, action = admin.post(f"/api/matrix/drafts/{draft['id']}/propose", {"reason": "Low risk needs nobody."})
    assert (status, action["environment"]) == (201, "prod")
    assert decide(action, "approver", "approver2")["state"] == "completed"
    assert matrix_for([place.acme.pk])[place.prod.pk] == rows
    assert MatrixDraft.objects.get().state == "published"
