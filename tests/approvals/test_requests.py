"""Opening many requests and closing many, by one statement each."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from approvals.models import Request
from approvals.requests.lifecycle import REQUEST_COLUMNS, cancel_open, draft_request, expire_due, request_row, void_open
from approvals.verdict import evaluate_matrix
from audit.database.clock import database_time, uuid7
from audit.database.statements import insert_rows
from audit.log.events import Subject
from tests.approvals.factory import diagnostics, facts_of
from tests.approvals.scene import DIGEST, a_request

pytestmark = pytest.mark.dialect

TO_TELL = 4
"""Statements that find out whom to tell: the requests, the rules, the clock, the people with an address."""


def draft(scene, facts=None, **fields):
    verdict = evaluate_matrix(facts or facts_of("prod", modifies=1))
    values = {
        "tenant_id": scene.tenant.pk,
        "environment_id": scene.prod.pk,
        "digest": DIGEST,
        "subject": Subject("thing", uuid7()),
        "verdict": verdict,
        "requester": scene.agent,
        "excluded": {scene.agent.pk, scene.people.all_rounder.pk},
        "at": database_time(),
        "ttl_s": 60,
    }
    return draft_request(**{**values, **fields})


@pytest.mark.parametrize("many", [1, 3, 20])
def test_many_drafts_are_inserted_at_once(scene, many):
    drafts = [draft(scene) for _ in range(many)]
    insert_rows(Request, REQUEST_COLUMNS, [request_row(request) for request in drafts])
    stored = Request.objects.order_by("id").first()
    assert Request.objects.count() == many
    assert (stored.kind, stored.state, stored.digest, stored.closed_at) == ("approval", "open", DIGEST, None)
    assert stored.required_approvals == [{"role": "approver", "count": 1}]
    assert stored.excluded == sorted([str(scene.agent.pk), str(scene.people.all_rounder.pk)])
    assert stored.expires_at - stored.opened_at == timedelta(seconds=60)
    assert stored.requester == scene.agent


def test_every_column_is_written():
    by_default = {"notify_at"}
    assert set(REQUEST_COLUMNS) == {field.column for field in Request._meta.concrete_fields} - by_default


def test_a_draft_is_an_acceptance_where_no_approval_is_asked(scene):
    request = draft(
        scene, facts_of("dev", modifies=1, matrix={"low": []}), excluded=[], requester=scene.people.operator.pk
    )
    assert (request.kind, request.required_approvals, request.excluded) == (
        "acceptance",
        [],
        [str(scene.people.operator.pk)],
    )


@pytest.mark.parametrize("facts", [diagnostics("dev", matrix={"low": []}), facts_of("dev", modifies=1, matrix={})])
def test_a_verdict_that_asks_nobody_opens_nothing(scene, facts):
    with pytest.raises(ValueError, match="needs no request"):
        draft(scene, facts)


@pytest.mark.parametrize(("close", "state"), [(void_open, "void"), (cancel_open, "cancelled")])
def test_closing_closes_the_open_ones_of_these_subjects_and_no_others(
    scene, close, state, django_assert_max_num_queries
):
    mine, also, other = (a_request(scene) for _ in range(3))
    done = a_request(scene, subject_id=mine.subject_id, state="approved", closed_at=database_time())
    with django_assert_max_num_queries(1 + TO_TELL):
        closed = close([mine.subject_id, also.subject_id, uuid7()])
    assert {(c.request_id, c.tenant_id, c.subject_kind, c.subject_id, c.kind) for c in closed} == {
        (r.pk, scene.tenant.pk, "thing", r.subject_id, "approval") for r in (mine, also)
    }
    states = dict(Request.objects.values_list("id", "state"))
    assert states == {mine.pk: state, also.pk: state, other.pk: "open", done.pk: "approved"}
    mine.refresh_from_db()
    assert abs(mine.closed_at - database_time()) < timedelta(seconds=30)
    assert close([mine.subject_id]) == [] and close([]) == []


def test_only_what_is_due_expires_the_longest_overdue_first(scene, django_assert_max_num_queries):
    now = database_time()
    due = [a_request(scene, expires_at=now - timedelta(seconds=s, microseconds=u)) for s, u in ((1, 0), (3, 1), (2, 0))]
    a_request(scene, expires_at=now + timedelta(seconds=60))
    void = a_request(scene, expires_at=now - timedelta(days=1), state="void", closed_at=now)
    with django_assert_max_num_queries(1 + TO_TELL):
        first = expire_due(2)
    assert {closed.request_id for closed in first} == {due[1].pk, due[2].pk}
    assert [closed.request_id for closed in expire_due(10)] == [due[0].pk] and expire_due(10) == []
    void.refresh_from_db()
    assert void.state == "void" and Request.objects.filter(state="open").count() == 1


def test_a_deadline_on_a_whole_second_is_compared_like_any_other(scene):
    now = database_time().replace(microsecond=0)
    a_request(scene, expires_at=now)
    later = a_request(scene, expires_at=now + timedelta(seconds=120))
    assert len(expire_due(10)) == 1
    later.refresh_from_db()
    assert later.state == "open"


def test_a_subject_has_one_open_request_at_most(scene):
    request = a_request(scene)
    with pytest.raises(IntegrityError), transaction.atomic():
        a_request(scene, subject_id=request.subject_id)
    void_open([request.subject_id])
    assert a_request(scene, subject_id=request.subject_id).state == "open"


@pytest.mark.parametrize("wrong", [{"state": "granted"}, {"kind": "poll"}, {"state": "approved"}])
def test_the_database_refuses_a_request_that_makes_no_sense(scene, wrong):
    with pytest.raises(IntegrityError), transaction.atomic():
        a_request(scene, **wrong)
