"""What comes into force is, word for word, what was approved: a draft that is reworded meanwhile is not published.

A plan is made again before it runs, so this is about what happens afterwards: between that and the step itself, or
while a worker was away.
"""

from dataclasses import replace

import pytest

from actions.types.config_change import ConfigChange
from actions.types.conformance import ExecutorCase
from approvals.models import MatrixDraft
from approvals.policies.active_policies import epoch_of
from approvals.policies.drafts import draft_matrix, edit_matrix_draft, edit_policy_draft
from approvals.policies.matrix import matrix_for, set_row
from approvals.policies.policy_text import policy_text_of
from approvals.policies.publish import published_version
from audit.models import Event
from tests.policies.factory import SETUP, TWO, backtested, drafted
from tests.types.test_config_change import ONE, asked, target_in


@pytest.mark.parametrize(
    "reworded", [{"expression": "false"}, {"mode": "shadow"}, {"effect": "warn"}, {"message": "Ha."}]
)
def test_a_policy_that_was_reworded_after_its_plan_is_not_put_in_force(cast, reworded):
    version = backtested(drafted(cast.acme))
    case = ExecutorCase(ConfigChange(), target_in(cast.prod), asked("policy", version))
    approved, before = case.plan(), epoch_of(cast.acme.pk)
    edit_policy_draft(version.pk, replace(policy_text_of(version), **reworded), by=SETUP)
    (outcome,) = [case.executor.apply(ctx) for ctx in case.contexts(approved)]
    assert (outcome.ok, outcome.code) == (False, "precondition")
    assert "after it was approved" in outcome.message and "Propose it again." in outcome.message
    assert published_version(version.policy_id) is None and epoch_of(cast.acme.pk) == before
    assert not Event.objects.filter(verb="policy.published").exists()
    edit_policy_draft(version.pk, policy_text_of(version), by=SETUP)
    (outcome,) = [case.executor.apply(ctx) for ctx in case.contexts(approved)]
    assert outcome.ok and published_version(version.policy_id) == version.version


def test_a_matrix_that_was_redrafted_after_its_plan_is_not_put_in_force(cast):
    set_row(cast.prod, "high", TWO, by=SETUP)
    draft = backtested(draft_matrix(cast.prod, {"high": TWO, "critical": TWO}, by=SETUP))
    case = ExecutorCase(ConfigChange(), target_in(cast.prod), asked("matrix", draft))
    approved = case.plan()
    edit_matrix_draft(draft.pk, {"high": ONE}, by=SETUP)
    (outcome,) = [case.executor.apply(ctx) for ctx in case.contexts(approved)]
    assert (outcome.ok, outcome.code) == (False, "precondition") and "after it was approved" in outcome.message
    assert matrix_for([cast.acme.pk]) == {cast.prod.pk: {"high": TWO}}
    assert MatrixDraft.objects.get().state == "draft"


def test_a_matrix_that_was_patched_by_hand_can_still_be_put_back(cast):
    """`recover_policy` writes rows that no draft says: undoing a later change brings them back, without a draft."""
    first = backtested(draft_matrix(cast.prod, {"high": TWO}, by=SETUP))
    case = ExecutorCase(ConfigChange(), target_in(cast.prod), asked("matrix", first))
    case.run(case.plan())
    set_row(cast.prod, "low", ONE, by="system:recover")
    second = backtested(draft_matrix(cast.prod, {"critical": TWO}, by=SETUP))
    case = ExecutorCase(ConfigChange(), target_in(cast.prod), asked("matrix", second))
    plan = case.plan()
    case.run(plan)
    undo = case.executor.plan_undo(plan.steps, case.target, lambda key: None)
    (outcome,) = [case.executor.apply(ctx) for ctx in case.contexts(undo)]
    assert outcome.ok, outcome
    assert matrix_for([cast.acme.pk]) == {cast.prod.pk: {"high": TWO, "low": ONE}}
    assert not MatrixDraft.objects.filter(state="published").exists()
