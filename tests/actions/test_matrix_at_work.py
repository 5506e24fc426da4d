"""A matrix that is tightened bites running actions too, policies or none: at the next checkpoint, and on resuming."""

import pytest
from django.db import connection

from actions.commands import stop_resume
from actions.models import Action
from approvals.models import MatrixRow
from approvals.policies.matrix import remove_row, set_row
from approvals.policies.publish import retire
from tests.actions.factory import propose, root_of
from tests.actions.running import carry
from tests.policies.factory import SETUP, published
from tests.support.ledger_executor import balance

pytestmark = pytest.mark.django_db(transaction=True)
TIERS = ("low", "medium", "high", "critical")


def after_step_one(ledger_type, change) -> None:
    def before(ctx):
        if ctx.step["key"].startswith("001"):
            change()
            connection.close()

    ledger_type.before = before


def deny_dev(cast) -> None:
    for row in MatrixRow.objects.filter(environment=cast.dev):
        remove_row(row, by=SETUP)


def ask_in_dev(cast) -> None:
    for tier in TIERS:
        set_row(cast.dev, tier, [{"role": "approver", "count": 1}], by=SETUP)


def done(cast) -> dict[str, int]:
    return balance(root_of(cast.dev) / ".ledger")


@pytest.mark.parametrize("tighten", [deny_dev, ask_in_dev])
def test_a_matrix_tightened_during_a_run_holds_it_at_the_next_checkpoint(committed_cast, ledger_type, tighten):
    after_step_one(ledger_type, lambda: tighten(committed_cast))
    action = carry(propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True))
    assert (action.state, action.held_reason) == ("held", "policy")
    assert "approval matrix" in action.error["message"] and done(committed_cast) == {"cell-1": 1}


@pytest.mark.parametrize("tighten", [deny_dev, ask_in_dev])
def test_a_matrix_tightened_while_it_was_held_keeps_it_from_going_on(committed_cast, ledger_type, tighten):
    cast = committed_cast
    rules = []
    after_step_one(ledger_type, lambda: rules.append(published(cast.acme, "p", expression="plan.steps > 0")))
    action = carry(propose(cast, type="ledger", parameters={"steps": 3}, accept=True))
    assert action.state == "held"
    retire(rules[0].pk, None, SETUP)
    tighten(cast)
    stop_resume.resume(cast.access("operator"), action.pk, "go on", how="continue")
    again = carry(action)
    assert (again.state, again.held_reason) == ("held", "policy") and done(cast) == {"cell-1": 1}
    stop_resume.resume(cast.access("operator"), action.pk, "undo it", how="rollback")
    assert carry(action).state == "rolled_back" and done(cast) == {}


def test_a_matrix_loosened_or_left_alone_holds_nothing(committed_cast, ledger_type):
    after_step_one(ledger_type, lambda: set_row(committed_cast.prod, "low", [], by=SETUP))
    action = carry(propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True))
    assert action.state == "completed" and Action.objects.get().state == "completed"
