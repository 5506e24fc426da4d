"""What people may do to an action, through the one gate."""

import pytest

from actions.commands import propose, review, rollback, stop_resume
from actions.errors import BadSubmission, KeyReused, NotAllowed, NothingToUndo, WrongState
from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.lifecycle import allowed as lifecycle_allowed
from actions.models import Action, JournalEntry
from approvals.errors import NotEligible, StaleDigest
from approvals.models import MatrixRow, Request
from audit.errors import NotFound
from audit.models import Event, PrivateValue
from tests.actions.factory import a_running_lease, an_action, edit, root_of
from tests.actions.factory import propose as factory_propose
from tests.actions.running import carry, verbs_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def waiting(committed_cast):
    """A change of a prod file that waits for two approvers."""
    (root_of(committed_cast.prod) / "app.conf").write_text("before\n")
    return carry(factory_propose(committed_cast, environment="prod", parameters=edit()))


def test_two_approvers_of_the_very_plan_let_a_change_run(committed_cast, waiting):
    assert waiting.state == "awaiting_approval"
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), waiting.pk, True, waiting.plan.digest, "looks right")
    assert carry(waiting).state == "completed"
    assert (root_of(committed_cast.prod) / "app.conf").read_text() == "after\n"
    granted = Event.objects.filter(subject_id=waiting.pk, verb="approval.granted")
    assert granted.count() == 2
    assert not any(b"looks right" in bytes(e.body) for e in granted)
    assert PrivateValue.objects.filter(subject_id=waiting.pk, value=b"looks right").count() == 2


@pytest.mark.parametrize("who", ["operator", "agent", "auditor", "admin"])
def test_nobody_without_a_approval_may_approve_and_the_attempt_is_recorded(committed_cast, waiting, who):
    with pytest.raises(NotEligible):
        review.approve(committed_cast.access(who), waiting.pk, True, waiting.plan.digest, "")
    assert Action.objects.get(pk=waiting.pk).state == "awaiting_approval"
    assert verbs_of(waiting)[-1] == "approval.refused"


def test_a_stale_digest_is_refused_and_fills_no_approval(committed_cast, waiting):
    with pytest.raises(StaleDigest):
        review.approve(committed_cast.access("approver"), waiting.pk, True, "0" * 64, "")
    assert not Request.objects.get(subject_id=waiting.pk).decisions.exists()


def test_one_rejection_with_a_comment_ends_it(committed_cast, waiting):
    review.approve(committed_cast.access("approver"), waiting.pk, False, None, "not today")
    now = carry(waiting)
    assert now.state == "rejected"
    assert (root_of(committed_cast.prod) / "app.conf").read_text() == "before\n"
    with pytest.raises(WrongState):
        review.approve(committed_cast.access("approver2"), waiting.pk, True, waiting.plan.digest, "")


def test_a_file_changed_after_approval_voids_both_approvals_and_says_what_changed(committed_cast, waiting):
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), waiting.pk, True, waiting.plan.digest, "")
    (root_of(committed_cast.prod) / "app.conf").write_text("meanwhile\n")
    now = carry(waiting)
    assert now.state == "awaiting_approval"
    assert not JournalEntry.objects.filter(action=now).exists()
    newest = lifecycle_allowed.latest_request(now)
    assert (newest.state, newest.digest, newest.decisions.count()) == ("open", now.plan.digest, 0)
    assert (root_of(committed_cast.prod) / "app.conf").read_text() == "meanwhile\n"


def test_an_approver_removed_before_the_start_does_not_count(committed_cast, waiting):
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), waiting.pk, True, waiting.plan.digest, "")
    committed_cast.approver2.groups.clear()
    now = carry(waiting)
    assert now.state == "awaiting_approval"
    assert "lapsed" in str(Event.objects.get(subject_id=now.pk, verb="action.reopen").body)


def test_a_foreign_action_is_as_unknown_as_none(committed_cast, waiting):
    with pytest.raises(NotFound) as foreign:
        lifecycle_allowed.find_action(committed_cast.access("outsider"), waiting.pk)
    with pytest.raises(NotFound) as unknown:
        lifecycle_allowed.find_action(committed_cast.access("outsider"), "01900000-0000-7000-8000-000000000000")
    assert foreign.value.as_dict() == unknown.value.as_dict()


@pytest.mark.parametrize("verb", ["cancel", "abort"])
def test_its_requester_withdraws_an_action_that_has_not_begun(committed_cast, waiting, verb):
    getattr(stop_resume, verb)(committed_cast.access("operator"), waiting.pk, "found another way")
    assert Action.objects.get(pk=waiting.pk).state == "cancelled"
    assert Request.objects.get(subject_id=waiting.pk).state == "cancelled"
    with pytest.raises(WrongState):
        stop_resume.cancel(committed_cast.access("operator"), waiting.pk, "again")


def test_an_approver_may_not_withdraw_somebody_elses_action(committed_cast, waiting):
    with pytest.raises(NotAllowed):
        stop_resume.cancel(committed_cast.access("approver"), waiting.pk, "")
    assert Action.objects.get(pk=waiting.pk).state == "awaiting_approval"


def test_a_cancel_takes_the_action_from_the_worker_that_plans_it(committed_cast):
    action = an_action(committed_cast, "preflight", lease=a_running_lease("decide"))
    stop_resume.cancel(committed_cast.access("operator"), action.pk, "")
    now = Action.objects.get(pk=action.pk)
    assert (now.state, now.lease_id) == ("cancelled", None)


def test_an_ended_action_is_proposed_again_as_a_linked_one(committed_cast, waiting):
    stop_resume.cancel(committed_cast.access("operator"), waiting.pk, "")
    again = propose.retry(committed_cast.access("operator"), waiting.pk, "now it is time")
    assert (again.retry_of_id, again.state, again.parameters) == (waiting.pk, "queued", waiting.parameters)
    assert Action.objects.get(pk=waiting.pk).state == "cancelled"


def test_what_changed_nothing_cannot_be_rolled_back(committed_cast):
    action = factory_propose(committed_cast, type="collect_diagnostics", parameters={})
    action = carry(action)
    assert action.state == "completed"
    with pytest.raises(NothingToUndo):
        rollback.rollback(committed_cast.access("operator"), action.pk, "")


def test_a_held_action_is_given_up_by_an_operator_only(committed_cast):
    action = an_action(committed_cast, "held")
    with pytest.raises(NotAllowed):
        stop_resume.resume(committed_cast.access("approver"), action.pk, "")
    now = stop_resume.resume(committed_cast.access("operator"), action.pk, "beyond repair", how="give_up")
    assert now.state == "failed"


def test_every_issue_of_a_submission_is_told_at_once_and_nothing_is_stored(committed_cast):
    bad = Submission(type="modify_files", environment="nowhere", parameters={"changes": "all"}, reason="", timeout_s=0)
    with pytest.raises(BadSubmission) as refused:
        submit(committed_cast.access("operator"), bad)
    fields = {i["field"] for i in refused.value.extra["issues"]}
    assert fields == {"environment", "reason", "timeout_s", "parameters.changes"}
    assert not Action.objects.exists()


def test_a_probable_secret_is_refused_wherever_it_stands(committed_cast):
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    with pytest.raises(BadSubmission) as refused:
        factory_propose(committed_cast, parameters=edit("new.conf", f"token = {token}\n", "create"))
    (issue,) = refused.value.extra["issues"]
    assert issue["field"] == "parameters.changes.0.content"
    assert token not in str(refused.value.as_dict())


def test_the_same_key_and_body_give_the_same_action_and_another_body_is_refused(committed_cast):
    access = committed_cast.access("operator")
    one = Submission(type="collect_diagnostics", environment="dev", reason="look")
    first, new = submit(access, one, idempotency_key="k1")
    second, again = submit(access, one, idempotency_key="k1")
    assert (new, again, first.pk) == (True, False, second.pk)
    with pytest.raises(KeyReused):
        submit(access, Submission(type="collect_diagnostics", environment="dev", reason="other"), idempotency_key="k1")
    assert Action.objects.count() == 1


def test_the_security_level_may_be_raised_and_never_lowered(committed_cast):
    (root_of(committed_cast.dev) / "app.conf").write_text("x\n")
    assert factory_propose(committed_cast, parameters=edit(), security_level="critical").security_level == "critical"
    with pytest.raises(BadSubmission) as refused:
        factory_propose(committed_cast, parameters=edit(operation="delete"), security_level="low")
    assert refused.value.extra["issues"][0]["field"] == "security_level"


def test_who_may_only_look_cannot_propose(committed_cast):
    with pytest.raises(NotAllowed):
        factory_propose(committed_cast, "auditor", type="collect_diagnostics")
    assert not Action.objects.exists()


def test_allowed_names_what_each_person_could_do(committed_cast, waiting):
    def allowed(who: str) -> list[str]:
        return lifecycle_allowed.allowed_verbs(committed_cast.access(who), waiting)

    assert allowed("operator") == ["cancel"]
    assert allowed("approver") == ["approve", "reject", "request_changes"]
    assert allowed("auditor") == []


def test_a_matrix_that_was_relaxed_after_an_approver_left_lets_the_plan_run(committed_cast, waiting):
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), waiting.pk, True, waiting.plan.digest, "")
    committed_cast.approver2.groups.clear()
    MatrixRow.objects.filter(environment=committed_cast.prod).update(required_approvals=[])
    Action.objects.filter(pk=waiting.pk).update(accepted_in_advance=True)
    assert carry(waiting).state == "completed"


def test_a_matrix_that_was_tightened_after_approval_asks_again(committed_cast, waiting):
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), waiting.pk, True, waiting.plan.digest, "")
    required_approvals = [{"role": "approver", "count": 2}, {"role": "security", "count": 1}]
    MatrixRow.objects.filter(environment=committed_cast.prod).update(required_approvals=required_approvals)
    now = carry(waiting)
    assert now.state == "awaiting_approval"
    assert "stricter" in str(Event.objects.get(subject_id=now.pk, verb="action.reopen").body)
    assert (root_of(committed_cast.prod) / "app.conf").read_text() == "before\n"


def test_a_matrix_row_that_was_removed_after_approval_stops_the_run(committed_cast, waiting):
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), waiting.pk, True, waiting.plan.digest, "")
    MatrixRow.objects.filter(environment=committed_cast.prod).delete()
    now = carry(waiting)
    assert (now.state, now.error["code"]) == ("failed", "denied_at_start")
    assert (root_of(committed_cast.prod) / "app.conf").read_text() == "before\n"
