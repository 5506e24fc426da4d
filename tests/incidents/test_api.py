"""Incidents over HTTP: what the pages can do, a program can."""

import hashlib

import pytest

from actions.models import Delivery
from tests.incidents.conftest import fail, hold, incident_of

pytestmark = pytest.mark.django_db


def post(client, path, **body):
    return client.post(path, body, content_type="application/json")


def test_a_incident_goes_from_hand_to_hand(cast):
    incident = incident_of(hold(cast, title="Rotate keys"))
    operator, approver, here = cast.api("operator"), cast.api("approver"), f"/api/incidents/{incident.pk}"
    (row,) = operator.get("/api/incidents?tab=mine").json()["items"]
    assert (row["id"], row["title"], row["assignee"], row["ending"]) == (
        str(incident.pk),
        "Rotate keys",
        "operator",
        "in_doubt",
    )
    shown = operator.get(here).json()
    assert [(s["key"], s["usable"]) for s in shown["next_steps"]] == [
        ("look", True),
        ("settle", True),
        ("give_up", True),
    ]
    assert shown["allowed"] == ["acknowledge", "decline", "assign", "resolve", "comment"]
    document = operator.get(f"{here}/diagnostics")
    assert hashlib.sha256(document.content).hexdigest() == shown["evidence"]
    assert document.json()["steps"] == {"counts": {}, "named": [], "left_off": 0}
    assert (
        post(operator, f"{here}/assign", assignee="approver", note="Yours").json()["assigned_to"]["name"] == "Approver"
    )
    assert approver.get(here).json()["next_steps"][1]["usable"] is False
    assert post(approver, f"{here}/acknowledge").json()["state"] == "acknowledged"
    assert post(approver, f"{here}/comment", text="Looking").status_code == 201
    assert post(approver, f"{here}/decline").status_code == 422
    assert post(approver, f"{here}/decline", reason="Not my host").json()["assignee"] is None
    assert post(operator, f"{here}/resolve", note="Settled").json()["allowed"] == ["comment"]
    assert post(operator, f"{here}/acknowledge").status_code == 409
    assert operator.get("/api/incidents").json() == {"items": [], "next": None}


def test_lists_are_paged_and_filtered(cast):
    incidents = [incident_of(fail(cast)) for _ in range(3)]
    api = cast.api("auditor")
    first = api.get("/api/incidents?limit=2").json()
    rest = api.get(f"/api/incidents?limit=2&after={first['next']}").json()
    assert [row["id"] for row in first["items"] + rest["items"]] == [str(t.pk) for t in reversed(incidents)]
    assert rest["next"] is None and api.get("/api/incidents?severity=critical").json()["items"] == []
    assert api.get("/api/incidents?colour=red").status_code == 422


def test_another_tenants_incident_are_not_there(cast):
    incident = incident_of(fail(cast))
    api = cast.api("outsider")
    assert api.get("/api/incidents?tab=all").json()["items"] == []
    assert api.get(f"/api/incidents/{incident.pk}").status_code == 404
    assert post(api, f"/api/incidents/{incident.pk}/resolve").status_code == 404


def test_what_was_given_up_is_sent_again_by_an_operator(cast):
    incident = incident_of(fail(cast))
    Delivery.objects.update(state="failed")
    (message,) = cast.api("auditor").get(f"/api/incidents/{incident.pk}").json()["deliveries"]
    there = f"/api/incidents/{incident.pk}/deliveries/{message['id']}/send"
    assert post(cast.api("auditor"), there).status_code == 403
    assert post(cast.api("operator"), there).json()["deliveries"][0]["state"] == "due"
    assert post(cast.api("operator"), there).status_code == 409
