"""Quarantines over HTTP, and their page."""

import pytest

from actions.models import Action, Quarantine

pytestmark = pytest.mark.django_db(transaction=True)
SHUT = {"environment": "dev", "kind": "file", "name": "app.conf", "reason": "it looks odd"}


def test_something_is_put_in_quarantine_listed_and_cleared_through_an_action(program, carry, place):
    operator, approver = program("operator"), program("approver")
    status, made = operator.post("/api/quarantines", SHUT)
    assert (status, made["because"], made["by"]["username"], made["action"]) == (201, "operator", "operator", None)
    assert operator.get("/api/quarantines", environment="dev")[1]["items"] == [made]
    assert operator.get("/api/quarantines", environment="prod")[1] == {"items": [], "next": None}
    assert operator.post("/api/quarantines", SHUT)[1]["code"] == "already_quarantined"
    assert program("outsider").get("/api/quarantines")[1]["items"] == []
    refused = operator.propose("dev", path="app.conf", accept=True)
    proposed = {"type": "clear_quarantine", "environment": "dev", "reason": "it is well"}
    clearing = operator.post("/api/actions", {**proposed, "parameters": {"quarantine": made["id"]}})[1]
    carry()
    assert operator.look(refused)["result"]["error"]["code"] == "quarantined"
    digest = operator.look(clearing)["plan"]["digest"]
    assert approver.post(f"/api/actions/{clearing['id']}/approve", {"approved": True, "digest": digest})[0] == 200
    carry()
    assert operator.get("/api/quarantines")[1]["items"] == []
    past = operator.get("/api/quarantines", standing="cleared")[1]["items"]
    assert [q["cleared_by"] for q in past] == [clearing["id"]]


def test_a_wish_that_cannot_be_is_refused_with_its_fields(program):
    status, problem = program("operator").post("/api/quarantines", {"environment": "dev"})
    assert (status, [i["field"] for i in problem["issues"]]) == (422, ["kind", "name", "reason"])
    assert program("auditor").post("/api/quarantines", SHUT)[0] == 403
    assert program("outsider").post("/api/quarantines", SHUT)[0] == 422


def test_pages_of_the_list_follow_one_another(program):
    operator = program("operator")
    for n in range(3):
        operator.post("/api/quarantines", {**SHUT, "name": f"{n}.conf"})
    first = operator.get("/api/quarantines", limit=2)[1]
    second = operator.get("/api/quarantines", limit=2, after=first["next"])[1]
    assert [q["name"] for q in first["items"] + second["items"]] == ["2.conf", "1.conf", "0.conf"]
    assert second["next"] is None


def test_the_page_shows_what_is_shut_and_leads_to_a_proposal(place, carry):
    browser = place.client("operator")
    assert "Nothing is in quarantine" in browser.get("/quarantine/").content.decode()
    assert browser.post("/quarantine/", {**SHUT, "name": ""}).status_code == 422
    assert browser.post("/quarantine/", SHUT).status_code == 302
    shut = Quarantine.objects.get()
    page = browser.get("/quarantine/").content.decode()
    assert "app.conf" in page and f"/quarantine/{shut.pk}/clear/" in page and "it looks odd" in page
    assert "Quarantine a resource" not in place.client("auditor").get("/quarantine/").content.decode()
    form = browser.get(f"/quarantine/{shut.pk}/clear/").content.decode()
    assert "What you found" in form
    sent = browser.post(f"/quarantine/{shut.pk}/clear/", {"found": "I read it, it is well"})
    action = Action.objects.get(type="clear_quarantine")
    assert sent.status_code == 302 and str(action.pk) in sent["Location"]
    carry()
    assert Action.objects.get(pk=action.pk).state == "awaiting_approval"
    assert "Proposed" in browser.get("/quarantine/").content.decode()
