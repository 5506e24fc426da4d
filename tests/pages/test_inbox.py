"""The approvals inbox and deciding several at once, through page and API."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.models import Action
from approvals.models import ApprovalSettings, Decision, GrantSince, MemberSince, Request
from audit.database.clock import database_time, uuid7
from audit.models import Event
from tests.api.conftest import Program
from tests.cast import Cast
from tests.pages.conftest import Propose, a_file

pytestmark = pytest.mark.django_db(transaction=True)


def listed(place: Cast, who: str, **query: Any) -> list[Any]:
    status, found = Program(place.api(who)).get("/api/approvals", **query)
    assert status == 200, found
    return found["items"]


def page(place: Cast, who: str, query: str = "") -> str:
    answer = place.client(who).get(f"/approvals/{query}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_it_lists_what_waits_for_whom(place: Cast, propose: Propose) -> None:
    action = propose("prod", title="Say <hello>")
    html = page(place, "approver")
    assert (
        "Say &lt;hello&gt;" in html
        and "your approval: approver" in html
        and "1 change<" in html
        and 'id="nav-approvals">1' in html
    )
    (it,) = listed(place, "approver")
    assert (it["id"], it["your_role"], it["changes"], it["bulk"]) == (str(action.pk), "approver", 1, False)
    assert "No approval awaits your decision" in page(place, "operator") and listed(place, "operator") == []
    assert "Say &lt;hello&gt;" in page(place, "operator", "?tab=asked")
    assert [i["id"] for i in listed(place, "operator", tab="asked")] == [str(action.pk)]
    assert listed(place, "outsider") == listed(place, "outsider", tab="asked") == []


def test_what_i_decided_moves_to_the_third_tab(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    sent = {"decision": "approve", "digest": action.plan.digest}
    place.client("approver").post(f"/actions/{action.pk}/decide/", sent)
    assert listed(place, "approver") == [] and "No approval awaits" in page(place, "approver")
    (it,) = listed(place, "approver", tab="decided")
    assert it["decision"]["approved"] is True and it["decision"]["role"] == "approver"
    assert "you approved as approver" in page(place, "approver", "?tab=decided")
    assert "No decisions in 30 days" in page(place, "approver2", "?tab=decided")


def test_a_approval_that_only_a_rule_asked_for_is_listed_too(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    assert listed(place, "security") == []
    Request.objects.filter(subject_id=action.pk).update(required_approvals=[{"role": "security", "count": 1}])
    assert [i["your_role"] for i in listed(place, "security")] == ["security"]
    assert listed(place, "approver") == []


def test_a_role_that_came_late_lists_nothing(place: Cast, propose: Propose) -> None:
    propose("prod")
    MemberSince.objects.filter(principal_id=place.approver.pk).update(since=database_time())
    assert listed(place, "approver") == [] and len(listed(place, "approver2")) == 1


def test_filters_and_odd_addresses(place: Cast, propose: Propose) -> None:
    propose("prod", title="one"), propose("staging", title="two", parameters=a_file("b.txt"))
    assert [i["title"] for i in listed(place, "approver", environment="staging")] == ["two"]
    assert [i["title"] for i in listed(place, "approver", q="one")] == ["one"]
    assert "No match" in page(place, "approver", "?q=nope")
    for odd in ("?tab=x", "?after=x", "?tab=decided&after=%01", "?environment=%01", "?tab=decided&after=zzz"):
        page(place, "approver", odd)
    assert Program(place.api("approver")).get("/api/approvals", colour="red")[0] == 422


def test_many_cost_no_more_queries_than_few_and_are_paged(place: Cast, propose: Propose) -> None:
    action, client = propose("prod"), place.client("approver")
    client.get("/approvals/")
    with CaptureQueriesContext(connection) as few:
        client.get("/approvals/")
    many(action, 60)
    with CaptureQueriesContext(connection) as lots:
        html = client.get("/approvals/").content.decode()
    assert len(lots) <= len(few) and "Next page" in html
    seen, after = [], ""
    while True:
        got = Program(place.api("approver")).get("/api/approvals", after=after)[1]
        seen += [i["id"] for i in got["items"]]
        after = got["next"]
        if not after:
            break
    assert len(seen) == len(set(seen)) == 61


def many(action: Any, count: int) -> None:
    """Copies of an action that waits, with requests of their own."""
    asked = Request.objects.get(subject_id=action.pk)
    copies, requests = [], []
    for _ in range(count):
        fields = {f.attname: getattr(action, f.attname) for f in Action._meta.concrete_fields}
        copies.append(Action(**{**fields, "id": uuid7()}))
        values = {f.attname: getattr(asked, f.attname) for f in Request._meta.concrete_fields}
        requests.append(Request(**{**values, "id": uuid7(), "subject_id": copies[-1].pk}))
    Action.objects.bulk_create(copies)
    Request.objects.bulk_create(requests)


def choose(place: Cast, who: str, *actions: Any, **more: Any) -> Any:
    items = [{"id": str(a.pk), "digest": a.plan.digest} for a in actions]
    return Program(place.api(who)).post("/api/approvals/bulk", {"approved": True, "items": items, **more})


def test_several_are_decided_only_where_the_tenant_lets_them(place: Cast, propose: Propose) -> None:
    low, high = propose("staging"), propose("prod", parameters=a_file("b.txt"))
    Action.objects.filter(pk=high.pk).update(tier="high")
    status, got = choose(place, "approver", low, high)
    assert status == 200 and [r["code"] for r in got["results"]] == ["not_allowed_in_bulk", "not_allowed_in_bulk"]
    assert not Decision.objects.exists() and "bulk__" not in page(place, "approver")
    ApprovalSettings.objects.create(tenant=place.acme, bulk_below="high")
    status, got = choose(place, "approver", low, high)
    first, second = got["results"]
    assert first["ok"] and first["state"] == "approved"
    assert not second["ok"] and "below high" in second["detail"] and second["remedies"]
    assert Decision.objects.get().principal == place.approver
    assert Event.objects.filter(verb="approval.granted").count() == 1


def test_each_of_many_has_its_own_result(place: Cast, propose: Propose) -> None:
    ApprovalSettings.objects.create(tenant=place.acme, bulk_below="critical")
    one, two = propose("staging"), propose("staging", parameters=a_file("b.txt"))
    sent = {
        "decision": "approve",
        "pick": [f"{one.pk}:{one.plan.digest}", f"{two.pk}:{'0' * 64}", f"{uuid7()}:x", "nonsense", f"{two.pk}"],
    }
    assert f'value="{one.pk}:{one.plan.digest}"' in page(place, "approver")
    html = place.client("approver").post("/approvals/bulk/", sent).content.decode()
    assert "Approved. State: " in html and "The plan changed" in html and "you have no access" in html
    assert Decision.objects.count() == 1
    assert Action.objects.get(pk=two.pk).state == "awaiting_approval"


def test_what_bulk_refuses(place: Cast, propose: Propose) -> None:
    ApprovalSettings.objects.create(tenant=place.acme, bulk_below="critical")
    action = propose("staging")
    assert choose(place, "operator", action)[1]["results"][0]["code"] == "not_eligible"
    assert choose(place, "outsider", action)[1]["results"][0]["code"] in ("not_found", "not_allowed_in_bulk")
    assert choose(place, "approver", action, approved=False)[1]["results"][0]["code"] == "comment_needed"
    assert choose(place, "approver")[0] == 422
    assert choose(place, "approver", *[action] * 101)[0] == 422
    assert "Nothing was decided" in place.client("approver").post("/approvals/bulk/", {}).content.decode()
    assert not Decision.objects.exists()
    assert GrantSince.objects.exists()
