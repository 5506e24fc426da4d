"""Many people at the same request at the same moment, over connections of their own.

Rows are locked on PostgreSQL; SQLite has one writer."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from approvals.models import Decision, Request
from approvals.requests.decisions import decide, request_decided
from approvals.requests.lifecycle import cancel_open, expire_due, void_open
from approvals.requests.withdraw import approve_lapsed, request_changes, withdraw_change_request
from audit.database.clock import database_time
from audit.errors import Problem
from audit.models import Event
from tenants.access import Access
from tests.approvals.scene import DIGEST, Scene, a_request, a_scene

pytestmark = pytest.mark.dialect


@pytest.fixture
def scene(transactional_db) -> Scene:
    return a_scene()


@pytest.fixture
def settlements() -> Iterator[list[tuple[UUID, str]]]:
    """What was announced; a listener writes, as the lifecycle does, and only what commits is kept."""
    heard: list[tuple[UUID, str]] = []

    def listen(sender: Any, *, request: Request, outcome: str, **kwargs: Any) -> None:
        transaction.on_commit(lambda: heard.append((request.pk, outcome)))

    request_decided.connect(listen)
    yield heard
    request_decided.disconnect(listen)


@pytest.fixture
def at_once() -> Iterator[Callable[..., list[str]]]:
    """Run functions at the same moment, each on a connection of its own; return "ok" or the problem's code."""
    pool = ThreadPoolExecutor(8)

    def run(*functions: Callable[[], Any]) -> list[str]:
        start = threading.Barrier(len(functions))

        def attempt(function: Callable[[], Any]) -> str:
            connection.ensure_connection()
            start.wait(10)
            try:
                function()
            except Problem as problem:
                return problem.code
            return "ok"

        return list(pool.map(attempt, functions))

    yield run
    close_all(pool)


def close_all(pool: ThreadPoolExecutor) -> None:
    meet = threading.Barrier(8)

    def close(_: int) -> None:
        meet.wait(10)
        connection.close()

    list(pool.map(close, range(8)))
    pool.shutdown()


def vote(request: Request, access: Access, approved: bool = True) -> Callable[[], Request]:
    digest, comment = (DIGEST, "") if approved else (None, "no")
    return lambda: decide(request.pk, access, approved=approved, digest=digest, comment=comment)


def test_two_approvers_who_both_click_twice_settle_each_request_exactly_once(scene, settlements, at_once):
    ana, ben = scene.access("approver"), scene.access("approver2")
    requests = [a_request(scene) for _ in range(60)]
    for request in requests:
        told = at_once(*(vote(request, who) for who in (ana, ben, ana, ben)))
        assert Counter(told)["ok"] == 2 and set(told) <= {"ok", "already_decided"}, told
    assert Request.objects.filter(state="approved").count() == len(requests)
    assert sorted(settlements) == sorted((request.pk, "approved") for request in requests)
    assert Decision.objects.count() == 2 * len(requests)
    assert Event.objects.filter(verb="approval.granted").count() == 2 * len(requests)


def test_more_approvers_than_approvals_never_over_count(scene, settlements, at_once):
    everybody = [scene.access(name) for name in ("approver", "approver2", "approver3", "both", "all_rounder")]
    requests = [a_request(scene) for _ in range(20)]
    for request in requests:
        told = at_once(*(vote(request, who) for who in everybody))
        assert Counter(told) == {"ok": 2, "settled": 3}
        assert request.decisions.count() == 2
    assert sorted(settlements) == sorted((request.pk, "approved") for request in requests)


def test_approve_racing_reject_ends_in_exactly_one_outcome(scene, settlements, at_once):
    yes, no = scene.access("approver"), scene.access("approver2")
    outcomes: Counter[str] = Counter()
    for _ in range(40):
        request = a_request(scene, [{"role": "approver", "count": 1}])
        told = at_once(vote(request, yes), vote(request, no, approved=False))
        assert sorted(told) == ["ok", "settled"]
        request.refresh_from_db()
        outcomes[request.state] += 1
        assert request.decisions.count() == 1 and settlements[-1] == (request.pk, request.state)
        assert Event.objects.filter(subject_id=request.subject_id).count() == 1
    assert set(outcomes) <= {"approved", "rejected"} and len(settlements) == 40


def test_asking_for_changes_racing_the_last_approval_ends_in_exactly_one_outcome(scene, settlements, at_once):
    """Either the wish came first and holds what is complete, or the approval did and the wish is too late."""
    yes, doubter = scene.access("approver"), scene.access("approver2")
    held = 0
    for n in range(40):
        request = a_request(scene, [{"role": "approver", "count": 1}])
        race = [vote(request, yes), lambda r=request: request_changes(r.pk, doubter, comment="rename it")]
        told = at_once(*(race if n % 2 else race[::-1]))
        voted, asked = told if n % 2 else told[::-1]
        request.refresh_from_db()
        made = list(Event.objects.filter(subject_id=request.subject_id).order_by("seq").values_list("verb", flat=True))
        assert voted == "ok" and request.decisions.count() == 1
        if asked == "ok":
            assert (request.state, request.change_requests.count(), request.closed_at) == ("open", 1, None)
            assert made == ["approval.changes_requested", "approval.granted"]
            held += 1
        else:
            assert asked == "settled" and (request.state, request.change_requests.count()) == ("approved", 0)
            assert made == ["approval.granted"] and settlements[-1] == (request.pk, "approved")
    assert len(settlements) == 40 - held


def test_a_wish_taken_back_or_lapsed_at_the_moment_of_the_last_approval_settles_it_once(scene, settlements, at_once):
    yes, doubter = scene.access("approver"), scene.access("approver2")
    for n in range(30):
        request = a_request(scene, [{"role": "approver", "count": 1}])
        request_changes(request.pk, doubter, comment="rename it")
        told = at_once(
            vote(request, yes), lambda r=request: withdraw_change_request(r.pk, doubter), approve_lapsed, approve_lapsed
        )
        request.refresh_from_db()
        assert told == ["ok"] * 4 and request.state == "approved"
        assert settlements[n:] == [(request.pk, "approved")]


def test_what_a_lapsed_wish_held_is_settled_once_however_many_look(scene, settlements, at_once):
    requests = [a_request(scene, [{"role": "approver", "count": 1}]) for _ in range(10)]
    for request in requests:
        request_changes(request.pk, scene.access("approver2"), comment="rename it")
        vote(request, scene.access("approver"))()
    scene.people.approver2.groups.clear()
    at_once(*[approve_lapsed] * 4)
    assert sorted(settlements) == sorted((request.pk, "approved") for request in requests)
    assert Event.objects.filter(verb="approval.change_request_lapsed").count() == len(requests)


@pytest.mark.parametrize("close", [void_open, cancel_open])
def test_approve_racing_a_withdrawal_or_a_new_plan_ends_in_exactly_one_outcome(scene, settlements, at_once, close):
    access = scene.access("approver")
    approved = 0
    for _ in range(30):
        request = a_request(scene, [{"role": "approver", "count": 1}])
        closed: list[Any] = []
        told = at_once(vote(request, access), lambda r=request, c=closed: c.extend(close([r.subject_id])))
        request.refresh_from_db()
        if request.state == "approved":
            assert told == ["ok", "ok"] and closed == []
            approved += 1
        else:
            assert told == ["settled", "ok"] and [c.request_id for c in closed] == [request.pk]
            assert not request.decisions.exists() and not Event.objects.filter(subject_id=request.subject_id).exists()
    assert len(settlements) == approved


def test_approve_racing_expiry_ends_in_exactly_one_outcome(scene, settlements, at_once):
    access = scene.access("approver")
    approved = 0
    for n in range(30):
        due = database_time() + timedelta(milliseconds=2 + n % 6)
        request = a_request(scene, [{"role": "approver", "count": 1}], expires_at=due)
        told = at_once(vote(request, access), lambda: expire_due(10))
        request.refresh_from_db()
        if told[0] == "ok":
            assert request.state == "approved" and request.closed_at < due
            approved += 1
        else:
            assert told[0] in ("settled", "request_expired") and not request.decisions.exists()
            expire_due(10)
            request.refresh_from_db()
            assert request.state == "expired"
    assert len(settlements) == approved


def hold(request: Request, locked: threading.Event, release: threading.Event) -> Callable[[], None]:
    """Somebody else who has the request's row until told to let go."""

    def holding() -> None:
        with transaction.atomic():
            Request.objects.select_for_update().get(pk=request.pk)
            locked.set()
            release.wait(10)

    return holding


def test_who_waited_for_the_lock_past_the_deadline_is_late(scene, settlements, at_once):
    locked, release = threading.Event(), threading.Event()
    request = a_request(scene, [{"role": "approver", "count": 1}], expires_at=database_time() + timedelta(seconds=0.4))
    access = scene.access("approver")

    def late_vote() -> None:
        locked.wait(10)
        threading.Timer(0.6, release.set).start()
        vote(request, access)()

    assert at_once(hold(request, locked, release), late_vote) == ["ok", "request_expired"]
    assert settlements == [] and not Decision.objects.exists()


def test_a_sweep_leaves_out_what_somebody_is_deciding_or_waits_where_there_is_one_writer(scene, at_once):
    locked, release = threading.Event(), threading.Event()
    long_ago = database_time() - timedelta(seconds=1)
    held, free = a_request(scene, expires_at=long_ago - timedelta(seconds=1)), a_request(scene, expires_at=long_ago)
    expired: list[UUID] = []

    def sweep() -> None:
        locked.wait(10)
        threading.Timer(0.6, release.set).start()
        expired.extend(closed.request_id for closed in expire_due(10))
        assert connection.vendor == "sqlite" or not release.is_set()

    assert at_once(hold(held, locked, release), sweep) == ["ok", "ok"]
    assert set(expired) == ({free.pk} if connection.vendor == "postgresql" else {held.pk, free.pk})
    assert [closed.request_id for closed in expire_due(10)] == ([held.pk] if connection.vendor == "postgresql" else [])
