"""Impact on the page and over HTTP: the same sums, of what one may view; and what to do while there is none."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.models import Action, PredictionAccuracy
from audit.database.clock import database_time
from tenants.models import Environment
from tests.actions.factory import an_action
from tests.cast import Cast


def ran(place: Cast, where: Environment, **more: Any) -> Action:
    """A run that ended just now, as `actions.lifecycle.prediction_accuracy` would have kept it."""
    action = an_action(place, "completed", environment=where, tenant=where.tenant)
    fields = {
        "type": "modify_files",
        "target": "/",
        "state": "completed",
        "code": "",
        "is_failure": False,
        "tier": "low",
        "score": 8,
        "predicted_changes": 4,
        "predicted_deletes": 0,
        "predicted_resources": 4,
        "steps": 4,
        "applied": 4,
        "standing": 4,
        "verified_changes": 3,
        "checks": 5,
        "checks_failed": 0,
        "duration_ms": 1500,
        "ended_at": database_time(),
    }
    PredictionAccuracy.objects.create(action=action, environment=where, **{**fields, **more})
    return action


@pytest.fixture
def some(place: Cast) -> Cast:
    for _ in range(3):
        ran(place, place.dev)
    undone = {"state": "rolled_back", "is_failure": True, "checks_failed": 1, "tier": "high", "verified_changes": 1}
    ran(place, place.prod, **undone)
    ran(place, place.globex_prod, type="a_foreign_type")
    return place


def test_the_page_compares_prediction_and_verification_by_type_and_tier(some: Cast) -> None:
    html = some.client("operator").get("/prediction-accuracy/").content.decode()
    assert "75 %" in html and "25 %" in html and ">4.0<" in html and ">2.5<" in html
    assert "1 (100 %)" in html and "a_foreign_type" not in html


def test_one_environment_and_one_period_can_be_asked_for(some: Cast) -> None:
    html = some.client("operator").get("/prediction-accuracy/?environment=dev&days=7").content.decode()
    assert "100 %" in html and "75 %" not in html and 'value="7" selected' in html
    assert "No runs " in some.client("operator").get("/prediction-accuracy/?environment=staging").content.decode()


@pytest.mark.parametrize("odd", ["environment=nowhere", "days=1000000", "days=x", "environment=%01", "days="])
def test_an_odd_filter_is_as_if_it_were_not_there(some: Cast, odd: str) -> None:
    answer = some.client("operator").get(f"/prediction-accuracy/?{odd}")
    assert answer.status_code == 200 and "75 %" in answer.content.decode()


def test_an_empty_page_says_what_it_will_show(place: Cast) -> None:
    html = place.client("auditor").get("/prediction-accuracy/").content.decode()
    assert "No runs " in html and "Look back a year" in html and "<table" not in html


def test_the_api_gives_the_same_sums(some: Cast) -> None:
    (row,) = some.api("operator").get("/api/prediction-accuracy").json()["items"]
    assert (row["type"], row["runs"], row["completed_percent"], row["rolled_back_percent"]) == (
        "modify_files",
        4,
        75,
        25,
    )
    assert (row["predicted"], row["verified"], row["duration_s"], row["score"]) == (4.0, 2.5, 1.5, 8)
    assert row["tiers"] == [
        {"tier": "low", "runs": 3, "checked": 3, "mismatched": 0, "percent": 0},
        {"tier": "high", "runs": 1, "checked": 1, "mismatched": 1, "percent": 100},
    ]
    answer = some.api("operator").get("/api/prediction-accuracy?environment=prod&days=7").json()
    assert (answer["days"], answer["environment"], answer["items"][0]["runs"]) == (7, "prod", 1)


@pytest.mark.parametrize("odd", ["environment=nowhere", "days=8", "dayz=7", "environment=" + "x" * 64])
def test_the_api_refuses_a_filter_that_it_does_not_know(some: Cast, odd: str) -> None:
    assert some.api("operator").get(f"/api/prediction-accuracy?{odd}").status_code == 422


def test_who_may_view_nothing_is_shown_nothing(some: Cast) -> None:
    foreign = some.api("outsider").get("/api/prediction-accuracy").json()["items"]
    assert [row["type"] for row in foreign] == ["a_foreign_type"]
    assert some.api("outsider").get("/api/prediction-accuracy?environment=dev").status_code == 422
    assert "modify_files" not in some.client("outsider").get("/prediction-accuracy/").content.decode()


def test_it_costs_the_same_however_much_has_run(some: Cast) -> None:
    client = some.client("operator")
    client.get("/prediction-accuracy/")
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/prediction-accuracy/")
    for n in range(20):
        ran(some, some.dev, type=f"type_{n}")
    with CaptureQueriesContext(connection) as many:
        client.get("/prediction-accuracy/")
    assert len(many) == len(few)
