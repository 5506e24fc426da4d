"""POST /api/actions"""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.models import Action, IdempotencyKey
from audit.models import Event
from tests.api.conftest import a_change

pytestmark = pytest.mark.dialect

TRACE = "0af7651916cd43dd8448eb211c80319c"


def nothing_was_stored() -> bool:
    return not Action.objects.exists() and not Event.objects.filter(subject_kind="action").exists()


def test_a_proposal_answers_201_with_the_action_in_the_shape_of_the_contract(program, place):
    status, action = program("operator").post("/api/actions", a_change(ticket="OPS-1", priority=5))
    assert status == 201
    wanted = """id title type skill_id environment target parameters requester proposed_by state seq security_level
        risk_level requires_approval autonomous_eligible confidence correlation_id created_at approved_at completed_at
        plan approvals verdicts progress steps rollback_reference result allowed blocked_by links"""
    assert not set(wanted.split()) - action.keys()
    assert (action["state"], action["environment"], action["proposed_by"]) == ("queued", "dev", "operator")
    assert action["skill_id"] is None and action["requires_approval"] is None and action["plan"] is None
    assert action["allowed"] == ["cancel"] and action["result"] is None
    row = Action.objects.get(pk=action["id"])
    assert (row.requester, row.ticket, row.priority) == (place.operator, "OPS-1", 5)
    event = Event.objects.get(subject_id=row.pk)
    assert (event.verb, event.actor, event.correlation_id) == (
        "action.submitted",
        str(place.operator.pk),
        action["correlation_id"],
    )


def test_the_trace_of_the_caller_is_the_correlation_id(program):
    status, action = program("operator").post("/api/actions", a_change(), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    assert status == 201 and action["correlation_id"] == TRACE
    assert Event.objects.get(subject_id=action["id"]).correlation_id == TRACE


def test_the_same_key_and_body_give_the_same_action(program):
    operator = program("operator")
    first_status, first = operator.post("/api/actions", a_change(), **{"Idempotency-Key": "k-1"})
    again_status, again = operator.post("/api/actions", a_change(), **{"Idempotency-Key": "k-1"})
    assert (first_status, again_status) == (201, 200)
    assert first["id"] == again["id"] and Action.objects.count() == 1


def test_the_same_key_with_another_body_is_refused_and_stores_nothing_more(program):
    operator = program("operator")
    operator.post("/api/actions", a_change(), **{"Idempotency-Key": "k-1"})
    status, problem = operator.post("/api/actions", a_change(content="other\n"), **{"Idempotency-Key": "k-1"})
    assert (status, problem["code"]) == (422, "idempotency_key_reused")
    assert Action.objects.count() == IdempotencyKey.objects.count() == 1


def test_keys_of_two_principals_and_two_tenants_do_not_meet(program, place):
    body = a_change()
    ids = {
        program(name).post("/api/actions", {**body, "environment": where}, **{"Idempotency-Key": "k"})[1]["id"]
        for name, where in (("operator", "dev"), ("agent", "dev"), ("outsider", "prod"))
    }
    assert len(ids) == 3


@pytest.mark.parametrize("key", ["a b", "ü", "x" * 256])
def test_a_key_that_is_not_one_is_refused(program, key):
    status, problem = program("operator").post("/api/actions", a_change(), **{"Idempotency-Key": key})
    assert status == 422 and problem["issues"][0]["field"] == "Idempotency-Key"
    assert nothing_was_stored()


def test_every_issue_comes_at_once_with_its_field(program):
    wrong = {**a_change("nowhere"), "reason": " ", "confidence": 2, "priority": 900, "timeout_s": 0}
    status, problem = program("operator").post("/api/actions", {**wrong, "target": {"pod": "x"}})
    assert (status, problem["code"]) == (422, "bad_submission")
    fields = {issue["field"] for issue in problem["issues"]}
    assert fields >= {"environment", "reason", "confidence", "priority", "timeout_s", "target"}
    assert all(issue["severity"] in ("error", "warning") and issue["message"] for issue in problem["issues"])
    assert nothing_was_stored()


def test_an_unknown_field_is_named(program):
    status, problem = program("operator").post("/api/actions", a_change(enviroment="dev"))
    assert (status, problem["code"]) == (422, "invalid")
    assert problem["issues"] == [{"severity": "error", "message": "There is no such field.", "field": "enviroment"}]
    assert nothing_was_stored()


@pytest.mark.parametrize(
    ("field", "value"),
    [("type", 5), ("parameters", []), ("priority", "5"), ("accept", "yes"), ("target", {"node": 1}), ("checks", {})],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_field(program, field, value):
    status, problem = program("operator").post("/api/actions", a_change(**{field: value}))
    assert status == 422
    assert problem["issues"][0]["field"].split(".")[0] == field
    assert nothing_was_stored()


@pytest.mark.parametrize("when", ["2026-10-10T10:00:00", "9999-12-31T23:59:59-12:00", "soon", "0001-01-01T00:00:00Z"])
def test_a_start_without_a_zone_or_out_of_reach_is_refused(program, when):
    status, problem = program("operator").post("/api/actions", a_change(not_before=when))
    assert status == 422 and problem["issues"][0]["field"] == "not_before"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'{"confidence": NaN}', 400),
        (b'{"priority": 123456789012345678901234567890}', 400),
        (b'{"confidence": 1e999}', 400),
        (b'{"title": "\\ud800"}', 422),
        (b'{"title": "a\\u0000b"}', 422),
        (b'{"parameters": {"\\u0000": 1}}', 422),
        (b"\xff\xfe{}", 400),
        ('{"title": "in another encoding"}'.encode("utf-16"), 400),
        (b'{"title": "x\xed\xa0\xbd"}', 400),
        (b'{"title": "one", "title": "two"}', 400),
        (b'{"parameters": {"a": {"b": 1, "c": 2, "b": 3}}}', 400),
        (b'{"parameters": {' + b",".join(b'"%d": 1' % n for n in range(20_001)) + b"}}", 400),
        (b'{"parameters": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, 400),
        (b'{"parameters": ' + b'{"a":' * 60 + b"1" + b"}" * 61, 400),
    ],
    ids=range(18),
)
def test_a_body_that_is_not_proper_json_is_a_problem_and_never_a_fault(program, body, status):
    client = program("operator").client
    got = client.post("/api/actions", body, content_type="application/json")
    assert got.status_code == status, got.content
    assert got["Content-Type"] == "application/problem+json"
    assert {"code", "detail", "remedies", "status"} <= got.json().keys()
    assert nothing_was_stored()


def test_an_oversized_body_is_refused_by_its_length(program, settings):
    body = json.dumps(a_change(content="x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)))
    got = program("operator").client.post("/api/actions", body, content_type="application/json")
    assert (got.status_code, got.json()["code"]) == (413, "too_large")
    assert nothing_was_stored()


def test_who_may_look_but_not_propose_is_told_so(program):
    status, problem = program("approver").post("/api/actions", a_change())
    assert (status, problem["code"]) == (403, "not_allowed") and problem["remedies"]
    assert nothing_was_stored()


def test_another_tenants_environment_is_as_unknown_as_none(program, place):
    outsider = program("outsider")
    (first, foreign), (second, unknown) = (outsider.post("/api/actions", a_change(e)) for e in ("dev", "zzz"))
    assert first == second == 422
    assert json.dumps(foreign["issues"]).replace("dev", "zzz") == json.dumps(unknown["issues"])
    assert nothing_was_stored()


def test_a_stranger_is_sent_away(client, place):
    got = client.post("/api/actions", a_change(), content_type="application/json")
    assert (got.status_code, got.json()["code"]) == (401, "unauthenticated")
    assert got["WWW-Authenticate"] == "Bearer"
    assert nothing_was_stored()


def test_a_session_may_propose_only_with_the_csrf_token(place):
    browser = place.client("operator", enforce_csrf_checks=True)
    refused = browser.post("/api/actions", a_change(), content_type="application/json")
    assert refused.status_code == 403 and nothing_was_stored()
    browser.cookies["interlock_csrf"] = token = "c" * 32
    sent = browser.post("/api/actions", a_change(), content_type="application/json", headers={"X-CSRFToken": token})
    assert sent.status_code == 201


def test_a_token_does_not_borrow_the_sessions_rights(place):
    browser = place.client("operator")
    headers = {"Authorization": f"Bearer {place.token('approver')}"}
    got = browser.post("/api/actions", a_change(), content_type="application/json", headers=headers)
    assert got.status_code == 403 and nothing_was_stored()


def test_a_wrong_token_is_401_even_beside_a_good_session(place):
    got = place.client("operator").get("/api/actions", headers={"Authorization": "Bearer ilk_nonsense"})
    assert got.status_code == 401


def test_a_proposal_costs_a_fixed_number_of_queries(program):
    operator = program("operator")
    operator.propose()
    counts = []
    for files in (1, 20):
        changes = [{"path": f"{files}-{n}", "operation": "create", "content": "x"} for n in range(files)]
        with CaptureQueriesContext(connection) as seen:
            operator.propose(parameters={"changes": changes})
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 14, counts


def test_a_flood_of_issues_is_cut_with_a_count(program):
    changes = [{"path": 1, f"x{n}": 2} for n in range(2_000)]
    body = {"type": "modify_files", "environment": "dev", "reason": "x", "parameters": {"changes": changes}}
    got = program("operator").client.post("/api/actions", body, content_type="application/json")
    issues = got.json()["issues"]
    assert (got.status_code, len(issues)) == (422, 1_001)
    assert "more issues" in issues[-1]["message"]
