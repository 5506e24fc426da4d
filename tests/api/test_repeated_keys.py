"""A key that stands twice decides nothing: which of the two counts would depend on the reader."""

from approvals.models import Decision


def test_a_rejection_and_an_approval_in_one_body_are_neither(program, carry):
    action = program("operator").propose("prod")
    carry()
    digest = program("approver").get(f"/api/actions/{action['id']}")[1]["plan"]["digest"]
    body = f'{{"approved": false, "comment": "no", "approved": true, "digest": "{digest}"}}'
    got = program("approver").client.post(f"/api/actions/{action['id']}/approve", body, content_type="application/json")
    assert (got.status_code, got.json()["code"]) == (400, "malformed")
    assert "twice" in got.json()["detail"]
    assert not Decision.objects.exists()
