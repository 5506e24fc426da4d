"""What is in quarantine: nothing touches it, whoever approved that, until people approve that it may be touched."""

import json

import pytest
from django.db.models.functions import Now

from actions.commands import review, rollback, stop_resume
from actions.controls.quarantine import put_in_quarantine, quarantines_of
from actions.errors import AlreadyQuarantined, BadSubmission, NotAllowed, ResourceInUse
from actions.lifecycle.commit import advance
from actions.models import Action, Quarantine, ResourceLock
from actions.types.protocol import Probe
from audit.errors import Invalid
from audit.models import Event
from tests.actions.factory import edit, propose, root_of
from tests.actions.running import carry, verbs_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


@pytest.fixture
def root(committed_cast):
    root = root_of(committed_cast.dev)
    (root / "app.conf").write_text("before\n")
    (root / "other.conf").write_text("before\n")
    return root


@pytest.fixture
def shut(committed_cast, root) -> Quarantine:
    access = committed_cast.access("operator")
    return put_in_quarantine(access, "dev", "file", "dev:app.conf", "it looks odd")


def clearing(cast, shut, **more) -> Action:
    return carry(propose(cast, type="clear_quarantine", parameters={"quarantine": str(shut.pk)}, **more))


def cleared(cast, shut) -> Action:
    action = clearing(cast, shut)
    review.approve(cast.access("approver"), action.pk, True, action.plan.digest, "I looked")
    return carry(action)


def test_an_approved_action_that_would_touch_it_is_refused_and_told_why(committed_cast, root, shut):
    action = carry(propose(committed_cast, parameters=edit(), accept=True))
    assert (action.state, action.error["code"]) == ("failed", "quarantined")
    named = action.error["details"]["quarantines"][0]
    assert (named["name"], named["because"], named["by"]) == (
        "app.conf",
        "operator",
        str(committed_cast.operator.pk),
    )
    assert "Have it cleared" in action.error["message"]
    assert (root / "app.conf").read_text() == "before\n"
    assert action.plan.observations["quarantine"][0]["id"] == str(shut.pk)
    assert not ResourceLock.objects.exists()


def test_what_touches_something_else_goes_its_way(committed_cast, root, shut):
    action = carry(propose(committed_cast, parameters=edit("other.conf"), accept=True))
    assert action.state == "completed"


def test_whoever_only_looks_may_look(committed_cast, shut):
    key = shut.key
    Quarantine.objects.create(
        tenant=shut.tenant,
        environment=shut.environment,
        key=key[::-1],
        kind="environment",
        name="dev",
        because="operator",
        by=committed_cast.operator,
    )
    assert set(quarantines_of([key])) == {key}
    action = carry(propose(committed_cast, type="collect_diagnostics", parameters={}, accept=True))
    assert action.state == "completed"


def test_a_quarantine_that_comes_between_the_look_and_the_claim_is_seen(committed_cast, root, monkeypatch):
    """Claims are the last thing a run takes: the query that counts them leaves out what is in quarantine."""
    made = []

    def late(*args):
        if not made:
            made.append(put_in_quarantine(committed_cast.access("operator"), "dev", "file", "app.conf", "just now"))
        return []

    with monkeypatch.context() as patch:
        patch.setattr("actions.run.workflow.changed_verdict_notes", late)
        action = carry(propose(committed_cast, parameters=edit(), accept=True))
    assert (action.state, action.error["code"]) == ("failed", "quarantined")
    assert verbs_of(action).count("action.waiting") == 1
    assert (root / "app.conf").read_text() == "before\n"


def test_it_takes_somebody_else_to_clear_it_also_where_the_matrix_asks_nobody(committed_cast, root, shut):
    action = clearing(committed_cast, shut, accept=True)
    assert action.state == "awaiting_approval"
    assert action.plan.verdict["required_approvals"] == [{"role": "approver", "count": 1}]
    assert action.tier == "high"
    with pytest.raises(Exception, match="requesters cannot approve their own"):
        review.approve(committed_cast.access("operator"), action.pk, True, action.plan.digest, "")
    review.approve(committed_cast.access("approver"), action.pk, True, action.plan.digest, "I looked")
    action = carry(action)
    assert action.state == "completed"
    shut.refresh_from_db()
    assert shut.cleared_by_action_id == action.pk
    assert [e.verb for e in Event.objects.filter(subject_id=shut.pk).order_by("seq")] == [
        "quarantine.set",
        "quarantine.cleared",
    ]
    assert carry(propose(committed_cast, parameters=edit(), accept=True)).state == "completed"


def test_a_check_that_does_not_hold_after_it_was_cleared_puts_it_back(committed_cast, root, shut):
    check = {"kind": "file", "path": "app.conf", "contains": "mended"}
    action = clearing(committed_cast, shut, checks=[check])
    review.approve(committed_cast.access("approver"), action.pk, True, action.plan.digest, "")
    assert carry(action).state == "rolled_back"
    assert set(quarantines_of([shut.key])) == {shut.key}


def test_undoing_a_clearance_puts_it_back_after_people_approved_that(committed_cast, root, shut):
    done = cleared(committed_cast, shut)
    undo, is_new = rollback.rollback(committed_cast.access("operator"), done.pk, "too early")
    assert is_new
    undo = carry(undo)
    review.approve(committed_cast.access("approver"), undo.pk, True, undo.plan.digest, "")
    assert carry(undo).state == "completed"
    assert set(quarantines_of([shut.key])) == {shut.key}


def test_one_that_was_cleared_meanwhile_is_not_cleared_twice(committed_cast, root, shut):
    first, second = clearing(committed_cast, shut), clearing(committed_cast, shut)
    for action in (first, second):
        review.approve(committed_cast.access("approver"), action.pk, True, action.plan.digest, "")
    first = carry(first)
    second = Action.objects.get(pk=second.pk)
    assert {first.state, second.state} == {"completed", "failed"}
    assert Event.objects.filter(subject_id=shut.pk, verb="quarantine.cleared").count() == 1
    with pytest.raises(BadSubmission):
        clearing(committed_cast, shut)


def test_what_an_unsettled_action_left_is_cleared_only_after_that_has_ended(committed_cast, ledger_type):
    parameters = {"steps": 2, "fail_at": 2, "fail_undo_at": 1}
    held = carry(propose(committed_cast, type="ledger", parameters=parameters, accept=True))
    shut = Quarantine.objects.get(action=held)
    with pytest.raises(BadSubmission) as refused:
        clearing(committed_cast, shut)
    assert "has not ended" in refused.value.extra["issues"][0]["message"]
    stop_resume.resume(committed_cast.access("operator"), held.pk, "leave it", how="give_up")
    assert cleared(committed_cast, shut).state == "completed"


def test_the_action_that_set_it_may_be_rolled_back_again_and_another_may_not(committed_cast, ledger_type):
    parameters = {"steps": 2, "fail_at": 2, "fail_undo_at": 1}
    failed = carry(
        propose(committed_cast, type="ledger", parameters=parameters, accept=True, rollback={"mode": "best-effort"})
    )
    other = carry(propose(committed_cast, type="ledger", parameters={"steps": 1}, accept=True))
    assert (failed.state, other.state, other.error["code"]) == ("failed", "failed", "quarantined")
    ledger_type.compensate = lambda ctx: type(ledger_type).compensate(ledger_type, mended(ctx))
    rollback.rollback(committed_cast.access("operator"), failed.pk, "try again")
    assert carry(failed).state == "rolled_back"


def mended(ctx):
    ctx.parameters = {k: v for k, v in ctx.parameters.items() if k != "fail_undo_at"}
    return ctx


def test_a_rollback_of_what_somebody_else_put_in_quarantine_is_held(committed_cast, ledger_type):
    ledger_type.probe = lambda ctx: Probe.UNKNOWN
    parameters = {"steps": 2, "fail_at": 2, "exclusive": True}
    action = carry(propose(committed_cast, type="ledger", parameters=parameters, accept=True))
    assert action.held_reason == "in_doubt"
    stop_resume.resume(committed_cast.access("operator"), action.pk, "", how="give_up")
    Quarantine.objects.all().delete()
    put_in_quarantine(committed_cast.access("operator"), "dev", "cell", "cell-1", "odd")
    rollback.rollback(committed_cast.access("operator"), action.pk, "undo it")
    held = carry(action)
    assert (held.state, held.held_reason) == ("held", "quarantine")
    Quarantine.objects.update(cleared_at=Now(), cleared_by_action=held)
    stop_resume.resume(committed_cast.access("operator"), held.pk, "it is free")
    assert carry(held).state == "rolled_back"
    assert "step.undone" in verbs_of(held)


def test_by_hand_it_takes_an_operator_a_reason_and_a_resource_that_is_free(committed_cast, root, shut):
    operator = committed_cast.access("operator")
    with pytest.raises(NotAllowed):
        put_in_quarantine(committed_cast.access("approver"), "dev", "file", "other.conf", "because")
    with pytest.raises(Invalid) as refused:
        put_in_quarantine(operator, "dev", "", "", "")
    assert [i["field"] for i in refused.value.extra["issues"]] == ["kind", "name", "reason"]
    with pytest.raises(Invalid):
        put_in_quarantine(operator, "nowhere", "file", "x", "because")
    with pytest.raises(AlreadyQuarantined):
        put_in_quarantine(operator, "dev", "file", "app.conf", "again")
    held = propose(committed_cast, parameters=edit("other.conf"))
    ResourceLock.objects.create(
        key=next(iter(quarantines_of([shut.key])))[::-1],
        tenant=held.tenant,
        environment=held.environment,
        kind="file",
        name="x",
        action=held,
        held=True,
    )
    claim = ResourceLock.objects.get()
    Quarantine.objects.all().delete()
    ResourceLock.objects.filter(pk=claim.pk).update(key=shut.key)
    with pytest.raises(ResourceInUse):
        put_in_quarantine(operator, "dev", "file", "app.conf", "now")
    advance([held.pk], "cancel", by="test")
    body = json.loads(bytes(Event.objects.get(subject_id=shut.pk).body))
    assert set(body["facts"]["reason"]) == {"commitment"}
