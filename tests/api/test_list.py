"""GET /api/actions and /api/actions/pending"""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions.models import Action
from tests.actions.factory import an_action

pytestmark = pytest.mark.dialect


def ids(page) -> list[str]:
    return [item["id"] for item in page["items"]]


@pytest.fixture
def crowd(place):
    """Twenty-five actions of acme, in many states; one of globex."""
    states = ("queued", "held", "completed", "failed", "in_progress")
    acme = [an_action(place, states[n % 5], title=f"Change {n}", tier="low" if n % 2 else "high") for n in range(25)]
    an_action(place, tenant=place.globex, environment=place.globex_prod, requester=place.outsider)
    return acme


def test_pages_follow_one_another_newest_first_without_gap_or_repetition(program, crowd):
    operator, seen, after = program("operator"), [], {}
    while True:
        status, page = operator.get("/api/actions", limit=10, **after)
        assert status == 200 and len(page["items"]) <= 10
        seen += ids(page)
        if page["next"] is None:
            break
        after = {"after": page["next"]}
        an_action(_cast_of(crowd), title="came meanwhile")
    assert seen == [str(a.pk) for a in reversed(crowd)]


def _cast_of(crowd):
    class Few:
        acme, dev, operator = crowd[0].tenant, crowd[0].environment, crowd[0].requester

    return Few


def test_a_page_costs_the_same_with_five_actions_as_with_fifty(program, place, carry):
    operator = program("operator")
    counts = []
    for rounds in (5, 45):
        for n in range(rounds):
            operator.propose("prod" if n % 2 else "dev", title=f"{rounds}-{n}")
        carry()
        operator.get("/api/actions")
        with CaptureQueriesContext(connection) as seen:
            status, page = operator.get("/api/actions", limit=100)
        assert status == 200
        counts.append((len(page["items"]), len(seen)))
    assert [n for n, _ in counts] == [5, 50]
    assert counts[0][1] == counts[1][1] <= 12, counts


def test_lists_say_what_the_reader_may_do_as_the_single_action_does(program, place, carry):
    operator = program("operator")
    operator.propose("prod")
    operator.propose("dev")
    carry()
    for name in ("operator", "approver", "auditor", "agent"):
        reader = program(name)
        for item in reader.get("/api/actions")[1]["items"]:
            alone = reader.look(item)
            how_far = alone["progress"]  # how long it should take is said of one action only
            alone["progress"] = {k: how_far[k] for k in item["progress"]}
            assert {k: alone[k] for k in item} == item


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": "held"}, 5),
        ({"state": "held,failed"}, 10),
        ({"state": "running"}, 5),
        ({"state": "executing,held"}, 10),
        ({"state": "ended"}, 10),
        ({"state": "live"}, 15),
        ({"tier": "high"}, 13),
        ({"environment": "dev"}, 25),
        ({"environment": "prod"}, 0),
        ({"type": "modify_files"}, 25),
        ({"type": "nothing"}, 0),
        ({"requester": "operator"}, 25),
        ({"requester": "APPROVER"}, 0),
        ({"mine": "true"}, 25),
        ({"q": "change 1"}, 11),
        ({"correlation_id": "c0ffee"}, 25),
        ({"ticket": "OPS-1"}, 0),
        ({"state": "held", "q": "Change 1"}, 3),
    ],
)
def test_filters_narrow(program, crowd, query, expected):
    status, page = program("operator").get("/api/actions", limit=100, **query)
    assert status == 200 and len(page["items"]) == expected


def test_since_and_until_bound_the_time(program, crowd):
    now = timezone.now()
    operator = program("operator")
    before, after = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    assert len(operator.get("/api/actions", since=before, until=after)[1]["items"]) == 25
    assert operator.get("/api/actions", since=after)[1]["items"] == []
    assert operator.get("/api/actions", until=before)[1]["items"] == []
    middle = crowd[10].created_at
    later = {str(a.pk) for a in crowd if a.created_at >= middle}
    assert set(ids(operator.get("/api/actions", since=middle.isoformat())[1])) == later
    earlier = {str(a.pk) for a in crowd} - later
    assert set(ids(operator.get("/api/actions", until=middle.isoformat())[1])) == earlier


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"state": "done"}, "state"),
        ({"limit": 101}, "limit"),
        ({"limit": 0}, "limit"),
        ({"after": "xyz"}, "after"),
        ({"since": "yesterday"}, "since"),
        ({"since": "9999-12-31T23:59:59-12:00"}, "since"),
        ({"colour": "red"}, "colour"),
        ({"q": "a\x00b"}, "q"),
        ({"environment": "\x00"}, "environment"),
        ({"vocabulary": "klingon"}, "vocabulary"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_and_never_ignored(program, place, query, field):
    status, problem = program("operator").get("/api/actions", **query)
    assert (status, problem["code"]) == (422, "invalid")
    assert problem["issues"][0]["field"] == field


def test_another_tenants_actions_do_not_exist(program, crowd, place):
    page = program("outsider").get("/api/actions")[1]
    assert len(page["items"]) == 1 and page["items"][0]["requester"]["username"] == "outsider"
    for query in ({"requester": str(place.operator.pk)}, {"after": str(crowd[-1].pk)}, {"q": "Change"}):
        found = ids(program("outsider").get("/api/actions", **query)[1])
        assert not set(found) & {str(a.pk) for a in crowd}


def test_pending_lists_what_waits_and_for_me_only_what_waits_for_me(program, place, carry):
    operator = program("operator")
    dev, prod = operator.propose("dev"), operator.propose("prod")
    operator.propose("dev", accept=True, title="needs nobody")
    theirs = program("agent").propose("prod", title="by the agent")
    carry()
    everything = {dev["id"], prod["id"], theirs["id"]}
    assert set(ids(operator.get("/api/actions/pending")[1])) == everything
    mine = {
        name: set(ids(program(name).get("/api/actions/pending", **{"for": "me"})[1]))
        for name in ("operator", "approver", "security", "auditor", "agent", "outsider")
    }
    assert mine["approver"] == {prod["id"], theirs["id"]}
    assert mine["operator"] == {dev["id"]}
    assert mine["security"] == mine["auditor"] == mine["agent"] == mine["outsider"] == set()
    digest = operator.look(prod)["plan"]["digest"]
    program("approver").post(f"/api/actions/{prod['id']}/approve", {"approved": True, "digest": digest})
    assert ids(program("approver").get("/api/actions/pending", **{"for": "me"})[1]) == [theirs["id"]]
    assert Action.objects.get(pk=prod["id"]).state == "awaiting_approval"


def test_seed_vocabulary_goes_in_always_and_comes_out_when_asked_for(program, place, carry):
    operator = program("operator")
    operator.propose("prod")
    carry()
    for path in ("/api/actions", "/api/actions/pending"):
        (item,) = operator.get(path, state="pending", vocabulary="seed")[1]["items"]
        assert item["state"] == "pending"
        assert operator.get(path, state="pending")[1]["items"][0]["state"] == "awaiting_approval"
