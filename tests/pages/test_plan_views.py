"""Which plan was shown to whom, and what they opened of it, as facts on what they decide."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from approvals.models import Decision, PlanView
from approvals.requests.view_tracking import describe_plan_view
from audit.models import Event
from tests.api.conftest import Program
from tests.cast import Cast
from tests.pages.conftest import Propose

pytestmark = pytest.mark.django_db(transaction=True)
NINE = {"changes": [{"path": f"n{n}.txt", "operation": "create", "content": f"{n}\n"} for n in range(9)]}


def facts_of(action: Any, verb: str = "approval.granted") -> Any:
    body = Event.objects.get(subject_id=action.pk, verb=verb).body
    return json.loads(bytes(body))["facts"]["plan_view"]


def approve(place: Cast, action: Any, who: str = "approver") -> Any:
    sent = {"approved": True, "digest": action.plan.digest}
    status, now = Program(place.api(who)).post(f"/api/actions/{action.pk}/approve", sent)
    assert status == 200, now
    return now["approvals"]["decisions"][-1]["plan_view"]


def test_a_decision_without_ever_seeing_the_plan_says_so(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    said = approve(place, action)
    assert said["shown_at"] is None and said["changes_opened"] == 0
    assert facts_of(action) == said
    assert "Did not open the plan" in place.client("approver2").get(f"/actions/{action.pk}/").content.decode()


def test_a_page_notes_what_was_open_and_what_was_opened(place: Cast, propose: Propose) -> None:
    action, client = propose("prod", parameters=NINE), place.client("approver")
    client.get(f"/actions/{action.pk}/")
    assert PlanView.objects.get().opened == [1, 2, 3, 4, 5, 6]  # those that are open at first
    seen = client.get(f"/actions/{action.pk}/changes/8/?digest={action.plan.digest}&seen=1")
    assert (seen.status_code, seen.content) == (204, b"")
    assert b"<" in client.get(f"/actions/{action.pk}/changes/9/").content
    client.get(f"/actions/{action.pk}/")
    it = PlanView.objects.get()
    assert (it.principal, it.digest, it.total) == (place.approver, action.plan.digest, 9)
    assert it.opened == [1, 2, 3, 4, 5, 6, 8, 9]
    PlanView.objects.update(last_shown_at=F("last_shown_at") - timedelta(minutes=4))
    said = approve(place, action)
    assert (said["changes_opened"], said["changes_total"], said["seconds"] // 60) == (8, 9, 4)
    assert facts_of(action)["digest"] == action.plan.digest
    html = place.client("approver2").get(f"/actions/{action.pk}/").content.decode()
    assert "Opened 8 of 9 changes, 4 min" in html


def test_a_program_that_reads_the_plan_has_been_shown_it(place: Cast, propose: Propose) -> None:
    action, program = propose("prod", parameters=NINE), Program(place.api("approver"))
    program.get(f"/api/actions/{action.pk}/plan")
    assert PlanView.objects.get().opened == []
    program.get(f"/api/actions/{action.pk}/changes", limit=2)
    assert PlanView.objects.get().opened == [1, 2]
    program.client.get(f"/api/actions/{action.pk}/plan.md")
    assert PlanView.objects.get().opened == list(range(1, 10))
    assert approve(place, action)["changes_opened"] == 9


def test_a_look_that_brings_nothing_new_writes_nothing(place: Cast, propose: Propose) -> None:
    action, client = propose("prod"), place.client("approver")
    client.get(f"/actions/{action.pk}/")
    before = PlanView.objects.get().last_shown_at
    client.get(f"/actions/{action.pk}/")
    assert PlanView.objects.get().last_shown_at == before


def test_a_long_silence_counts_for_nothing(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    place.client("approver").get(f"/actions/{action.pk}/")
    PlanView.objects.update(last_shown_at=F("last_shown_at") - timedelta(hours=3))
    assert approve(place, action)["seconds"] == 0


def test_nothing_is_noted_once_it_is_settled_or_for_whom_it_is_hidden(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    assert place.client("outsider").get(f"/actions/{action.pk}/").status_code == 404
    assert not PlanView.objects.exists()
    approve(place, action), approve(place, action, "approver2")
    place.client("security").get(f"/actions/{action.pk}/")
    assert not PlanView.objects.exists() and Decision.objects.count() == 2


def test_words() -> None:
    it = {"shown_at": "x", "digest": "d", "changes_opened": 3, "changes_total": 12, "seconds": 4 * 60 + 5}
    assert describe_plan_view(it) == "opened 3 of 12 changes, 4 min"
    assert describe_plan_view({**it, "changes_total": 0, "seconds": 7_300}) == "opened the plan, 2 h 1 min"
    assert describe_plan_view({}) == ""
