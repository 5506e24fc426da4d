"""Rehearsal and backtest over HTTP: what programs see, and who is let near it."""

from uuid import uuid4

import pytest

from actions.backtests import start, worker
from actions.models import Action, Backtest
from approvals.policies.drafts import draft_matrix
from audit.models import Event
from tests.actions.factory import an_action, with_rules
from tests.backtests.factory import judged_actions, worked_off
from tests.policies.factory import SETUP, TWO, drafted, published

pytestmark = pytest.mark.django_db


def post(client, path, body=None):
    got = client.post(path, body or {}, content_type="application/json")
    return got.status_code, got.json()


@pytest.fixture
def actions(cast):
    with_rules(cast)
    return judged_actions(cast, 40)


def about(actions, **plan) -> Action:
    """One of the actions whose plan has exactly these counts."""
    found = Action.objects.select_related("plan").exclude(type="config_change").order_by("pk")
    return next(a for a in found if all(a.plan.facts["plan"][k] == v for k, v in plan.items()))


def test_a_draft_is_tried_on_one_action(cast, actions):
    version = drafted(cast.acme, expression="plan.deletes > 0 && environment.name != 'nowhere' // plan.creates")
    admin, action = cast.api("admin"), about(actions, deletes=4)
    status, found = post(admin, f"/api/policies/drafts/{version.pk}/evaluate", {"action": str(action.pk)})
    assert status == 200, found
    assert (found["then"]["outcome"], found["then"]["words"], found["otherwise"]) == ("deny", "denied", True)
    assert found["today"]["outcome"] != "deny" and "would be denied" in found["differences"][0]
    assert {r["name"]: r["value"] for r in found["read"]} == {
        "plan.deletes": 4,
        "environment.name": action.environment.slug,
    }
    (asked,) = found["policies"]
    assert (asked["slug"], asked["value"], asked["side"]) == ("no-deletes", True, "then")
    harmless = about(actions, deletes=0)
    status, found = post(admin, f"/api/policies/drafts/{version.pk}/evaluate", {"action": str(harmless.pk)})
    assert (found["otherwise"], found["differences"]) == (False, [])
    assert not Event.objects.filter(verb__startswith="backtest").exists()


def test_an_error_is_shown_and_denies(cast, actions):
    version = drafted(cast.acme, expression="1 / plan.lossy > 0")
    status, found = post(
        cast.api("admin"), f"/api/policies/drafts/{version.pk}/evaluate", {"action": str(about(actions).pk)}
    )
    assert (status, found["then"]["outcome"]) == (200, "deny")
    assert "divide by zero" in found["policies"][0]["error"] and found["policies"][0]["value"] is None


def test_a_retirement_and_a_matrix_are_tried_too(cast, actions):
    admin, version = cast.api("admin"), published(cast.acme, expression="true")
    action = about(actions)
    body = {"action": str(action.pk), "retire": True}
    status, found = post(admin, f"/api/policies/drafts/{version.pk}/evaluate", body)
    assert (status, found["today"]["outcome"], found["policies"][0]["side"]) == (200, "deny", "today")
    assert found["then"]["outcome"] != "deny"
    matrix = draft_matrix(action.environment, {}, by=SETUP)
    status, found = post(admin, f"/api/matrix/drafts/{matrix.pk}/evaluate", {"action": str(action.pk)})
    assert (status, found["then"]["outcome"]) == (200, "deny")


def test_what_cannot_be_tried_is_said(cast, actions):
    version, admin = drafted(cast.acme), cast.api("admin")
    path = f"/api/policies/drafts/{version.pk}/evaluate"
    unplanned = an_action(cast)
    status, problem = post(admin, path, {"action": str(unplanned.pk)})
    assert (status, problem["code"]) == (409, "nothing_to_backtest") and problem["remedies"]
    theirs = an_action(cast, tenant=cast.globex, environment=cast.globex_prod)
    for unknown in (theirs.pk, uuid4(), "nonsense"):
        assert post(admin, path, {"action": str(unknown)})[0] == 404


def test_a_backtest_from_start_to_differences(cast, actions):
    version, admin = drafted(cast.acme, expression="true"), cast.api("admin")
    path = f"/api/policies/drafts/{version.pk}/backtest"
    assert admin.get(path).status_code == 404
    status, made = post(admin, path)
    assert (status, made["state"], made["total"], made["done"]) == (202, "queued", None, 0)
    status, problem = post(admin, path)
    assert (status, problem["code"]) == (409, "backtest_under_way")
    worked_off()
    found = admin.get(path).json()
    assert (found["id"], found["state"], found["done"], found["total"]) == (made["id"], "finished", 40, 40)
    assert found["counts_for_publishing"] is True
    rows = admin.get(f"/api/backtests/{made['id']}/differences").json()
    assert rows["next"] is None and len(rows["items"]) == found["otherwise"] == found["counts"]["draft"]["denied"]
    (first, *_) = rows["items"]
    assert first["then"]["words"] == "denied" and first["words"] == "would be denied"
    assert admin.get(f"/api/backtests/{made['id']}/differences?kind=asked").json()["items"] == []
    assert admin.get(f"/api/backtests/{made['id']}/differences?colour=red").status_code == 422


def test_the_differences_come_in_pages(cast, actions, monkeypatch):
    monkeypatch.setattr("actions.api.policies.MAX_ROWS", 7)
    admin = cast.api("admin")
    made = start.start_backtest(cast.access("admin"), "policy", drafted(cast.acme, expression="true").pk)
    worked_off()
    seen, after = [], 0
    while after is not None:
        page = admin.get(f"/api/backtests/{made.pk}/differences?after={after}").json()
        seen, after = [*seen, *page["items"]], page["next"]
    made.refresh_from_db()
    assert len({row["action"] for row in seen}) == len(seen) == made.otherwise > 7


def test_it_is_cancelled_once(cast, actions):
    admin = cast.api("admin")
    matrix = draft_matrix(cast.prod, {"low": TWO}, by=SETUP)
    status, made = post(admin, f"/api/matrix/drafts/{matrix.pk}/backtest", {"since": "2026-01-01T00:00:00Z"})
    assert (status, made["since"][:10]) == (202, "2026-01-01")
    status, ended = post(admin, f"/api/backtests/{made['id']}/cancel")
    assert (status, ended["state"], ended["counts_for_publishing"]) == (200, "cancelled", False)
    assert post(admin, f"/api/backtests/{made['id']}/cancel")[0] == 409
    assert not worker.run_slice()
    period = {"since": "2026-03-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}
    status, problem = post(admin, f"/api/matrix/drafts/{matrix.pk}/backtest", period)
    assert (status, problem["issues"][0]["field"]) == (422, "since")


@pytest.mark.parametrize("name", ["operator", "approver", "security", "auditor", "agent", "outsider"])
def test_nobody_else_is_let_near_it(cast, actions, name):
    version, matrix = drafted(cast.acme), draft_matrix(cast.prod, {"low": TWO}, by=SETUP)
    made = start.start_backtest(cast.access("admin"), "policy", version.pk)
    client, action = cast.api(name), {"action": str(about(actions).pk)}
    wanted = 404 if name == "outsider" else 403
    for path, body in (
        (f"/api/policies/drafts/{version.pk}/evaluate", action),
        (f"/api/matrix/drafts/{matrix.pk}/evaluate", action),
        (f"/api/policies/drafts/{version.pk}/backtest", {}),
        (f"/api/matrix/drafts/{matrix.pk}/backtest", {}),
        (f"/api/backtests/{made.pk}/cancel", {}),
    ):
        assert post(client, path, body)[0] == wanted, path
    for path in (f"policies/drafts/{version.pk}/backtest", f"backtests/{made.pk}", f"backtests/{made.pk}/differences"):
        assert client.get(f"/api/{path}").status_code == wanted, path
    assert Backtest.objects.get().state == "queued"
