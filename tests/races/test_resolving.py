"""An approval racing a rejection, an expiry, a withdrawal or a new plan: one outcome, one chain, and no effect unasked.

As it happens in the product: through the verbs and the sweep, with real actions, on connections of their own.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from actions.commands import review, stop_resume
from actions.engine.runner import Runner
from actions.engine.sweep import expire_overdue
from actions.models import Action, JournalEntry
from approvals.models import MatrixRow, Request
from approvals.requests.decisions import is_quorum_met
from approvals.requests.withdraw import withdraw_approval
from audit.database.clock import database_time
from audit.models import Event
from audit.verification.chain import verify_subject_chain
from tests.actions.factory import edit, propose, root_of, with_rules
from tests.actions.running import carry
from tests.cast import Cast, make_cast
from tests.races.crowd import at_once

pytestmark = pytest.mark.dialect

TURNS = {"postgresql": 25, "sqlite": 8}
SETTLES = {"action.approve", "action.reject", "action.expire", "action.cancel"}


@pytest.fixture
def place(transactional_db: None, tmp_path: Any) -> Cast:
    """Production asks for one approver, so that each vote is the last."""
    cast = make_cast(with_rules)
    MatrixRow.objects.filter(environment=cast.prod).update(required_approvals=[{"role": "approver", "count": 1}])
    return cast


@pytest.fixture
def waiting(place: Cast) -> list[Action]:
    """As many actions as there are turns, each waiting for one approver; each edits a file of its own."""
    made = []
    for n in range(TURNS[connection.vendor]):
        (root_of(place.prod) / f"{n}.conf").write_text("before\n")
        made.append(propose(place, environment="prod", parameters=edit(f"{n}.conf")))
    decide = Runner("decide")
    while decide.drain():
        pass
    decide.stop()
    found = Action.objects.select_related("plan").in_bulk([action.pk for action in made])
    assert {action.state for action in found.values()} == {"awaiting_approval"}
    return [found[action.pk] for action in made]


def vote(place: Cast, who: str, action: Action, approved: bool = True) -> Callable[[], Any]:
    access, comment = place.access(who), "" if approved else "no"
    return lambda: review.approve(access, action.pk, approved, action.plan.digest, comment)


def request_on(action: Action) -> Request:
    return Request.objects.get(subject_id=action.pk)


def ends_of(action: Action) -> list[str]:
    verify = verify_subject_chain(action.tenant_id, "action", action.pk)
    assert verify.ok, verify
    found = Event.objects.filter(subject_id=action.pk, verb__in=SETTLES).order_by("seq")
    return [verb.removeprefix("action.") for verb in found.values_list("verb", flat=True)]


def state_of(action: Action) -> str:
    return str(Action.objects.values_list("state", flat=True).get(pk=action.pk))


def nothing_was_done(place: Cast, action: Action) -> bool:
    files = {path.read_text() for path in root_of(place.prod).glob("*.conf")}
    return "after\n" not in files and not JournalEntry.objects.filter(action=action).exists()


def test_approve_racing_reject(place, waiting):
    came: Counter[str] = Counter()
    for n, action in enumerate(waiting):
        race = [vote(place, "approver", action), vote(place, "approver2", action, approved=False)]
        told = at_once(race if n % 2 else race[::-1])
        request = request_on(action)
        assert Counter(told)["ok"] == 1 and set(told) <= {"ok", "settled", "wrong_state"}, told
        assert ends_of(action) == [{"approved": "approve", "rejected": "reject"}[request.state]]
        assert state_of(action) == request.state and request.decisions.count() == 1
        assert is_quorum_met(request) is (request.state == "approved")
        came[request.state] += 1
    assert sum(came.values()) == len(waiting)


def test_approve_racing_the_sweep_that_expires(place, waiting):
    for n, action in enumerate(waiting):
        due = database_time() + timedelta(milliseconds=1 + n % 8)
        Request.objects.filter(subject_id=action.pk).update(expires_at=due)
        told = at_once([vote(place, "approver", action), expire_overdue, expire_overdue])
        expire_overdue()
        request = request_on(action)
        assert told[0] in ("ok", "request_expired", "settled", "wrong_state"), told
        expected = ("approved", ["approve"], 1) if told[0] == "ok" else ("expired", ["expire"], 0)
        assert (request.state, ends_of(action), request.decisions.count()) == expected
        assert state_of(action) == request.state
        assert (request.closed_at < due) is (told[0] == "ok")


def test_approve_racing_a_withdrawal(place, waiting):
    operator = place.access("operator")
    for n, action in enumerate(waiting):
        race = [vote(place, "approver", action), lambda a=action: stop_resume.cancel(operator, a.pk, "never mind")]
        told = at_once(race if n % 2 else race[::-1])
        voted, withdrew = told if n % 2 else told[::-1]
        request = request_on(action)
        assert withdrew == "ok" and voted in ("ok", "settled", "wrong_state"), told
        assert state_of(action) == "cancelled" and nothing_was_done(place, action)
        won = voted == "ok"
        assert request.state == ("approved" if won else "cancelled") and request.decisions.count() == int(won)
        assert ends_of(action) == (["approve", "cancel"] if won else ["cancel"])
    runner = Runner("execute")
    assert runner.drain() == 0, "nothing that was withdrawn is left to run"
    runner.stop()


def test_votes_racing_a_new_plan_never_count_for_it(place, waiting):
    """The target drifts; a vote settles the old plan while the worker starts it, finds the drift and asks again."""

    def work() -> None:
        runner = Runner("execute")
        for _ in range(6):
            runner.drain()
        runner.stop()

    for n, action in enumerate(waiting[: len(waiting) // 2]):
        (root_of(place.prod) / f"{n}.conf").write_text("somebody else was here\n")
        told = at_once([vote(place, who, action) for who in ("approver", "approver2", "approver")] + [work])
        now = carry(action)
        asked = list(Request.objects.filter(subject_id=action.pk).order_by("opened_at"))
        assert Counter(told[:3])["ok"] == 1 and told[3] == "ok", told
        assert set(told[:3]) <= {"ok", "settled", "wrong_state", "already_decided", "stale_digest"}, told
        assert now.state == "awaiting_approval" and now.plan.digest != action.plan.digest
        assert [(r.state, r.digest, r.decisions.count()) for r in asked] == [
            ("approved", action.plan.digest, 1),
            ("open", now.plan.digest, 0),
        ]
        assert ends_of(action) == ["approve"] and nothing_was_done(place, action)


def test_an_approval_that_is_taken_back_while_the_run_starts_stops_it_or_comes_too_late(place, waiting):
    """Taken back in time, nothing ran and it is asked for again; too late, it says so and the approval stands."""
    access = place.access("approver")
    ends: Counter[bool] = Counter()

    def work() -> None:
        runner = Runner("execute")
        while runner.drain():
            pass
        runner.stop()

    for n, action in enumerate(waiting[: len(waiting) // 2]):
        vote(place, "approver", action)()
        back = lambda a=action: withdraw_approval(request_on(a).pk, access)  # noqa: E731
        told = at_once([back, work] if n % 2 else [work, back])
        took_back = told[0 if n % 2 else 1] == "ok"
        now, request = carry(action), request_on(action)
        assert now.state == ("awaiting_approval" if took_back else "completed"), told
        assert (request.state, request.decisions.count()) == (("open", 0) if took_back else ("approved", 1))
        after = (root_of(place.prod) / f"{n}.conf").read_text()
        assert after == ("before\n" if took_back else "after\n")
        assert verify_subject_chain(action.tenant_id, "action", action.pk).ok
        ends[took_back] += 1
    assert sum(ends.values()) == len(waiting) // 2
