"""One real change, all the way: through the runner, on a real directory."""

import pytest

# from audit.verification.chain import verify_subject
from actions.commands import review, rollback
from actions.engine.runner import Runner
from actions.models import Action, BeforeImage, JournalEntry
from approvals.models import MatrixRow
from audit.models import Event
from tests.actions.factory import edit, propose, root_of
from tests.actions.running import carry, verbs_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_accepted_change_of_a_zero_approval_environment_runs_to_the_end(committed_cast):
    path = root_of(committed_cast.dev) / "app.conf"
    path.write_text("before\n")
    path.chmod(0o640)
    action = propose(committed_cast, parameters=edit(), accept=True)
    now = carry(action)
    assert now.state == "completed"
    assert path.read_text() == "after\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert now.result == {"success": True, "data": now.result["data"], "error": None}
    assert verbs_of(action) == [
        "action.submitted",
        "action.preflight",
        "preflight.planned",
        "policy.evaluated",
        "action.approve",
        "action.start",
        "step.done",
        "action.verify",
        "action.complete",
    ]
    assert JournalEntry.objects.filter(action=action).count() == 2
    assert BeforeImage.objects.get(action=action).ciphertext
    assert b"before" not in bytes(BeforeImage.objects.get(action=action).ciphertext)
    # assert verify_subject(action.tenant_id, "action", action.pk).ok


def test_a_change_that_nobody_accepted_waits_for_its_requester(committed_cast):
    path = root_of(committed_cast.dev) / "app.conf"
    path.write_text("before\n")
    now = carry(propose(committed_cast, parameters=edit()))
    assert now.state == "awaiting_approval"
    assert now.requires_approval is False
    assert path.read_text() == "before\n"


def test_a_plan_that_cannot_be_made_fails_with_the_executors_words(committed_cast):
    path = root_of(committed_cast.dev) / "app.conf"
    path.write_text("before\n")
    action = propose(committed_cast, parameters=edit(), accept=True)
    path.unlink()
    now = carry(action)
    assert now.state == "failed"
    assert now.error["code"] == "plan_refused"
    assert "app.conf" in now.error["message"]


def test_an_environment_without_a_matrix_row_denies(committed_cast):
    MatrixRow.objects.filter(environment=committed_cast.staging).delete()
    (root_of(committed_cast.staging) / "app.conf").write_text("before\n")
    now = carry(propose(committed_cast, environment="staging", parameters=edit(), accept=True))
    assert now.state == "denied"
    assert now.error["code"] == "denied"


def test_a_file_changed_after_acceptance_stops_the_run_and_asks_again(committed_cast):
    path = root_of(committed_cast.dev) / "app.conf"
    path.write_text("before\n")
    action = carry(propose(committed_cast, parameters=edit()))
    access = committed_cast.access("operator")
    review.accept(access, action.pk, action.plan.digest)
    path.write_text("somebody else was here\n")
    now = carry(action)
    assert now.state == "awaiting_approval"
    assert now.plan.digest != action.plan.digest
    assert now.plan.version == 2
    assert path.read_text() == "somebody else was here\n"
    assert not JournalEntry.objects.filter(action=action).exists()
    drift = Event.objects.get(subject_id=action.pk, verb="preflight.drifted")
    assert b"app.conf" in bytes(drift.body)


def test_a_check_that_does_not_hold_undoes_the_run(committed_cast):
    path = root_of(committed_cast.dev) / "app.conf"
    path.write_text("before\n")
    checks = [{"kind": "file", "path": "app.conf", "contains": "never there"}]
    now = carry(propose(committed_cast, parameters=edit(), checks=checks, accept=True))
    assert now.state == "rolled_back"
    assert now.error["code"] == "verification_failed"
    assert path.read_text() == "before\n"
    assert verbs_of(now)[-3:] == ["step.undo_started", "step.undone", "action.finish_rollback"]


def test_a_completed_action_is_undone_by_a_linked_one_through_the_gate(committed_cast):
    path = root_of(committed_cast.dev) / "app.conf"
    path.write_bytes(b"before\n")
    action = carry(propose(committed_cast, parameters=edit(), accept=True))
    access = committed_cast.access("operator")
    undo, new = rollback.rollback(access, action.pk, "it was wrong")
    assert new
    undo = carry(undo)
    assert undo.state == "awaiting_approval"
    review.accept(access, undo.pk, undo.plan.digest)
    undo = carry(undo)
    assert undo.state == "completed"
    assert undo.undo_of_id == action.pk
    assert path.read_bytes() == b"before\n"
    assert Action.objects.get(pk=action.pk).state == "completed"


def test_a_runner_without_work_claims_nothing(committed_cast):
    runner = Runner("execute")
    try:
        assert runner.drain() == 0
    finally:
        runner.stop()
