"""At the start nothing is taken on trust: not the state of a row, nor what a request says that it was about."""

import pytest

from actions.commands import review
from actions.models import Action, JournalEntry
from approvals.models import Decision, Request
from audit.models import Event
from tests.actions.running import carry
from tests.traps.world import World

OTHER = "f" * 64


@pytest.fixture
def approved(cast) -> tuple[World, Action]:
    world = World(cast)
    world.required_approvals()
    action = world.asked()
    review.approve(cast.access("approver"), action.pk, True, action.plan.digest, "")
    assert Action.objects.get(pk=action.pk).state == "approved"
    return world, action


def did_not_run(world: World, action: Action) -> Action:
    now = carry(action)
    assert world.file().read_text() == "before\n" and not JournalEntry.objects.filter(action=action).exists()
    assert not Event.objects.filter(subject_id=action.pk, verb="action.start").exists()
    assert now.state == "awaiting_approval"
    return now


def test_an_approval_of_another_plan_starts_nothing_though_every_row_agrees_with_itself(approved):
    world, action = approved
    Request.objects.update(digest=OTHER)
    Decision.objects.update(digest=OTHER)
    now = did_not_run(world, action)
    assert Request.objects.get(state="open").digest == now.plan.digest


@pytest.mark.parametrize("state", ["void", "rejected", "expired", "cancelled"])
def test_an_action_that_says_approved_is_not_enough_where_its_request_says_otherwise(approved, state):
    world, action = approved
    Request.objects.update(state=state)
    did_not_run(world, action)


def test_an_action_that_says_approved_without_any_request_does_not_run(approved):
    world, action = approved
    Decision.objects.all().delete()
    Request.objects.all().delete()
    did_not_run(world, action)


def test_approvals_that_shrank_in_the_request_do_not_count_against_the_plan(approved):
    """Somebody with a hand in the database lowers what the request asks: the verdict at the start asks the rest."""
    world, action = approved
    world.required_approvals([{"role": "approver", "count": 1}, {"role": "security", "count": 1}])
    Request.objects.update(required_approvals=[{"role": "approver", "count": 1}])
    now = did_not_run(world, action)
    assert {required["role"] for required in Request.objects.get(state="open").required_approvals} == {
        "approver",
        "security",
    }
    assert now.plan.verdict["required_approvals"] == Request.objects.get(state="open").required_approvals
