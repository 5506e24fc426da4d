"""What each report finds, over real changes that went their ways."""

import json
from datetime import timedelta

import pytest

from actions.audit_hooks.change_reports import ChangeHistory, Decided, fold_history, overlaps
from actions.models import Action, PredictionAccuracy
from audit.auditor.explore.index import run_slice
from audit.auditor.reports.registry import ReportScope, find_report, registered_reports
from audit.database.clock import database_time
from audit.models import Event
from tenants.models import Principal
from tests.api.conftest import carry, place, program

__all__ = ["carry", "place", "program"]
KINDS = {"changes", "separation_of_duties", "policy_exceptions", "access_review", "failed_verifications"}


@pytest.fixture
def told(program, place, carry):
    """A change on prod that two people approved after its requester tried to, and one on dev that asked nobody."""
    operator, approver, second = (program(name) for name in ("operator", "approver", "approver2"))
    prod, dev = operator.propose("prod", title="Rotate =the certificate"), operator.propose("dev", accept=True)
    carry()
    digest = operator.look(prod)["plan"]["digest"]
    for who, comment in ((operator, ""), (approver, "fine"), (second, "")):
        who.post(f"/api/actions/{prod['id']}/approve", {"approved": True, "digest": digest, "comment": comment})
    carry()
    run_slice()
    return {"prod": prod["id"], "dev": dev["id"]}


def rows_of(kind, place, **more):
    now = database_time()
    wanted = ReportScope(place.acme.pk, now - timedelta(days=1), now + timedelta(days=1), more.get("environment"))
    found = list(find_report(kind).rows(wanted))
    names = {column.name for column in find_report(kind).columns}
    rows = [row for row in found if row is not None]
    assert all(set(row) == names for row in rows)
    return rows, sum(row is None for row in found)


@pytest.mark.django_db(transaction=True)
def test_every_report_over_real_changes(told, place):
    rows, looked_at = rows_of("changes", place, environment=place.prod.pk)
    assert looked_at == 1 and rows[0]["id"] == told["prod"] and rows[0]["state"] == "completed"
    assert [text.partition(",")[0] for text in rows[0]["approved_by"]] == [
        "Approver as approver",
        "Approver2 as approver",
    ]
    assert rows[0]["requested_by"] == "Operator" and "requesters cannot approve their own" in rows[0]["exceptions"][0]
    everywhere, looked_at = rows_of("changes", place)
    assert looked_at == 2 and everywhere[1]["exceptions"] == [
        "ran without approval: the matrix row asks for no required approval"
    ]

    assert rows_of("separation_of_duties", place) == ([], 2)

    rows, _ = rows_of("policy_exceptions", place)
    whats = [row["what"] for row in rows if row["kind"] == "action"]
    assert whats[0].startswith("ran without approval") and "a decision was refused" in whats[1]
    assert {row["environment"] for row in rows if row["kind"] == "action"} == {"dev", "prod"}

    rows, _ = rows_of("access_review", place, environment=place.prod.pk)
    by_name = {(row["who"], row["role"]): row for row in rows}
    assert by_name["Approver", "approver"]["decisions"] == 1 and by_name["Security", "security"]["last_used"] == "never"
    assert "low (2)" in by_name["Approver", "approver"]["tiers"]

    assert rows_of("failed_verifications", place) == ([], 2)
    PredictionAccuracy.objects.filter(action=told["dev"]).update(checks_failed=1)
    rows, _ = rows_of("failed_verifications", place)
    assert [(row["id"], row["failed"]) for row in rows] == [(told["dev"], 1)]
    for kind in KINDS:
        again = rows_of(kind, place)
        assert again == rows_of(kind, place), f"{kind}: the same records, another order"


def a_life(requester="op", owner="", approved=(), hands=()):
    at = database_time()
    decided = [Decided(who, "approved", "approver", at) for who in approved]
    return ChangeHistory(
        Action(), requester=requester, owner=owner, decided=decided, hands=[(who, "action.resume") for who in hands]
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("life", "owners", "breaches", "overlap"),
    [
        ({"approved": ["ann", "bob"]}, {}, 0, 0),
        ({"approved": ["op"]}, {}, 1, 0),
        ({"requester": "bot", "owner": "op", "approved": ["op"]}, {"bot": "op"}, 1, 0),
        ({"requester": "bot", "approved": ["op"]}, {"bot": "op"}, 1, 0),
        ({"approved": ["bot"]}, {"bot": "ann"}, 1, 0),
        ({"approved": ["ann"], "hands": ["ann"]}, {}, 0, 1),
        ({"approved": ["ann"], "hands": ["op"]}, {}, 0, 0),
        ({"approved": [], "hands": ["op"]}, {}, 0, 1),
        ({"approved": ["ann"], "hands": ["bot"]}, {"bot": "ann"}, 0, 1),
    ],
)
def test_overlaps_of_duties_are_told_apart(life, owners, breaches, overlap):
    found = overlaps(a_life(**life), owners)
    assert (sum(it.is_breach for it in found), sum(not it.is_breach for it in found)) == (breaches, overlap)


@pytest.mark.parametrize(
    ("after", "who", "stand"),
    [
        ([], "", ["ann", "bob"]),
        (["approval.withdrawn"], "ann", ["bob"]),
        (["approval.withdrawn", "action.reopen"], "ann", ["bob"]),
        (["action.reopen"], "system:execute", []),
    ],
)
def test_only_approvals_that_stand_at_the_end_count(after, who, stand):
    said = [("ann", "approval.granted"), ("bob", "approval.granted"), *((who, verb) for verb in after)]
    facts = {"facts": {"role": "approver", "request": "r"}}
    events = [
        Event(verb=verb, actor=by, outcome="ok", seq=n, at=None, body=json.dumps(facts).encode(), hash=b"")
        for n, (by, verb) in enumerate(said, 1)
    ]
    action = Action(requester=Principal(username="op"))
    assert [one.who for one in fold_history(action, events).approvals] == stand


def test_each_report_says_what_it_shows_and_does_not():
    found = {report.kind: report for report in registered_reports()}
    assert found.keys() >= KINDS
    for report in found.values():
        assert report.shows.endswith(".") and report.shows_not.endswith(".") and report.question.endswith("?")
        assert report.controls
