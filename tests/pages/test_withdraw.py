"""Ask for changes and take an approval back, through pages and the API, on real actions."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions.models import Action
from approvals.models import ChangeRequest, Decision, Request
from approvals.tasks import notify
from audit.models import Event
from tests.api.conftest import Program
from tests.cast import Cast
from tests.pages.conftest import Propose

pytestmark = pytest.mark.django_db(transaction=True)


def say(place: Cast, who: str, action: Any, verb: str, **body: Any) -> tuple[int, Any]:
    return Program(place.api(who)).post(f"/api/actions/{action.pk}/{verb}", body)


def approve(place: Cast, who: str, action: Any) -> Any:
    return say(place, who, action, "approve", approved=True, digest=action.plan.digest)


def test_asking_for_changes_on_the_page_tells_everybody_and_holds_it(place: Cast, propose: Propose) -> None:
    action = propose("staging")
    sent = {"decision": "ask", "comment": "use <b>tabs</b>", "digest": action.plan.digest}
    answer = place.client("approver").post(f"/actions/{action.pk}/decide/", sent)
    assert answer.status_code == 302 and ChangeRequest.objects.get().principal == place.approver
    html = place.client("operator").get(f"/actions/{action.pk}/").content.decode()
    assert "Changes requested by Approver." in html and "use &lt;b&gt;tabs" in html
    assert f"/actions/new/?from={action.pk}" in html
    assert approve(place, "approver2", action)[1]["state"] == "awaiting_approval"
    assert "changes requested" in place.client("operator").get("/?tab=mine").content.decode()
    answer = place.client("approver").post(f"/actions/{action.pk}/withdraw-change-request/", {"reason": "fine then"})
    assert answer.status_code == 302
    assert Action.objects.get(pk=action.pk).state == "approved"


def test_asking_without_words_is_refused_in_place(place: Cast, propose: Propose) -> None:
    action = propose("staging")
    answer = place.client("approver").post(f"/actions/{action.pk}/decide/", {"decision": "ask", "comment": ""})
    assert answer.status_code == 422 and not ChangeRequest.objects.exists()


def test_the_api_tells_who_asks_and_what_can_be_taken_back(place: Cast, propose: Propose) -> None:
    action = propose("staging")
    status, now = say(place, "approver", action, "request-changes", comment="not yet")
    assert status == 200 and now["state"] == "awaiting_approval"
    assert [(a["by"]["username"], a["comment"]) for a in now["approvals"]["change_requests"]] == [
        ("approver", "not yet")
    ]
    assert "withdraw_change_request" in now["allowed"]
    assert now["blocked_by"][0] == "approver requested changes: not yet"
    status, now = say(place, "approver", action, "withdraw-change-request")
    assert status == 200 and now["approvals"]["change_requests"] == [] and "approve" in now["allowed"]
    assert say(place, "operator", action, "request-changes", comment="x")[0] == 403
    assert say(place, "outsider", action, "request-changes", comment="x")[0] == 404


def test_an_approval_taken_back_before_the_start_sends_the_action_back(place: Cast, propose: Propose, carry) -> None:
    action = propose("prod", not_before=timezone.now() + timedelta(hours=1))
    approve(place, "approver", action)
    status, now = approve(place, "approver2", action)
    assert (status, now["state"]) == (200, "approved") and "withdraw" in now["allowed"]
    assert "Withdraw your approval" in place.client("approver2").get(f"/actions/{action.pk}/").content.decode()
    answer = place.client("approver2").post(f"/actions/{action.pk}/withdraw/", {"reason": "second thoughts"})
    assert answer.status_code == 302
    fresh, request = Action.objects.get(pk=action.pk), Request.objects.get()
    assert (fresh.state, request.state) == ("awaiting_approval", "open")
    assert abs((fresh.expires_at - request.expires_at).total_seconds()) < 5
    assert Decision.objects.get().principal == place.approver
    told = list(Event.objects.filter(subject_id=action.pk).order_by("seq").values_list("verb", flat=True))[-2:]
    assert told == ["approval.withdrawn", "action.reopen"]
    Action.objects.filter(pk=action.pk).update(not_before=None)
    carry()
    assert Action.objects.get(pk=action.pk).state == "awaiting_approval"
    assert approve(place, "approver2", action)[1]["state"] == "approved"
    carry()
    assert Action.objects.get(pk=action.pk).state == "completed"


def test_after_the_run_nothing_is_taken_back(place: Cast, propose: Propose, carry) -> None:
    action = propose("staging")
    approve(place, "approver", action)
    carry()
    status, problem = say(place, "approver", action, "withdraw")
    assert (status, problem["code"]) == (409, "wrong_state") and problem["remedies"]
    assert Decision.objects.count() == 1


def test_a_wish_whose_author_left_is_shown_as_lapsed_and_holds_nothing(place: Cast, propose: Propose) -> None:
    action = propose("staging", title="Use spaces")
    say(place, "approver", action, "request-changes", comment="use tabs")
    place.approver.groups.clear()
    html = place.client("operator").get(f"/actions/{action.pk}/").content.decode()
    assert "Changes requested by Approver, who is no longer eligible." in html and "use tabs" in html
    assert "until the request is withdrawn" not in html
    assert "changes requested" not in place.client("operator").get("/?tab=mine").content.decode()
    status, now = Program(place.api("operator")).get(f"/api/actions/{action.pk}")
    assert status == 200 and [a["counts"] for a in now["approvals"]["change_requests"]] == [False]
    assert now["blocked_by"] == ["1 more to approve as approver."]
    assert approve(place, "approver2", action)[1]["state"] == "approved"
    assert Event.objects.filter(subject_id=action.pk, verb="approval.change_request_lapsed").count() == 1
    assert "its author is no longer eligible" in place.client("operator").get(f"/actions/{action.pk}/").content.decode()


def test_an_action_that_only_a_lapsed_wish_held_goes_on_by_itself(place: Cast, propose: Propose) -> None:
    action = propose("staging")
    say(place, "approver", action, "request-changes", comment="use tabs")
    assert approve(place, "approver2", action)[1]["state"] == "awaiting_approval"
    place.approver.groups.clear()
    notify()
    assert Action.objects.get(pk=action.pk).state == "approved"
