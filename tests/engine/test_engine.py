"""What the engine does when a step fails, a person stops it, a worker dies or wakes up late."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from actions.commands import review, rollback, stop_resume
from actions.commands import stop_resume as commands_stop
from actions.engine.runner import Runner
from actions.engine.sweep import end_expired_leases, expire_overdue, waiting_queues
from actions.errors import WrongState
from actions.models import Action, JournalEntry, Lease
from actions.types import registry
from actions.types.protocol import Outcome, Probe
from approvals.models import Request
from audit.database.clock import database_time
from audit.models import Event
from tests.actions.factory import edit, propose, root_of
from tests.actions.running import carry, verbs_of
from tests.support.ledger_executor import balance, doubles, read_ledger

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


def run(cast, **parameters) -> Action:
    return carry(propose(cast, type="ledger", parameters=parameters, accept=True))


def test_a_failing_step_undoes_the_ones_before_it_in_reverse(committed_cast, ledger_type, ledger):
    action = run(committed_cast, steps=3, fail_at=3)
    assert (action.state, action.error["code"]) == ("rolled_back", "told_to_fail")
    assert balance(ledger) == {}
    assert [(e["verb"], e["cell"]) for e in read_ledger(ledger)] == [
        ("do", "cell-1"),
        ("do", "cell-2"),
        ("undo", "cell-2"),
        ("undo", "cell-1"),
    ]
    assert action.result["success"] is False


def test_a_first_step_that_fails_leaves_nothing_to_undo(committed_cast, ledger_type, ledger):
    action = run(committed_cast, steps=3, fail_at=1)
    assert action.state == "failed"
    assert read_ledger(ledger) == []


def test_a_step_that_may_be_tried_again_is_and_each_try_is_on_record(committed_cast, ledger_type, ledger):
    tries = []

    def flaky(ctx):
        tries.append(ctx.step["key"])
        return Outcome(False, "busy", "Try again.", retryable=True) if len(tries) < 3 else None

    ledger_type.before = flaky
    action = run(committed_cast, steps=1)
    assert action.state == "completed"
    kinds = JournalEntry.objects.filter(action=action).order_by("id").values_list("kind", "attempt")
    assert list(kinds) == [
        ("intent", 1),
        ("failure", 1),
        ("intent", 2),
        ("failure", 2),
        ("intent", 3),
        ("receipt", 3),
    ]


def test_tries_are_counted_and_end(committed_cast, ledger_type):
    ledger_type.before = lambda ctx: Outcome(False, "busy", "Try again.", retryable=True)
    action = run(committed_cast, steps=1)
    assert action.state == "failed"
    assert JournalEntry.objects.filter(action=action, kind="failure").count() == 3


def test_an_executor_that_raises_fails_its_step_and_not_the_worker(committed_cast, ledger_type, ledger):
    def broken(ctx):
        raise RuntimeError("a bug in the executor")

    ledger_type.before = broken
    action = run(committed_cast, steps=2)
    assert (action.state, action.error["code"]) == ("failed", "executor_error")
    assert "a bug in the executor" in action.error["message"]


def test_a_step_that_nobody_can_probe_holds_the_action_until_a_person_settles_it(committed_cast, ledger_type, ledger):
    action = run(committed_cast, steps=2, fail_at=2, blind=True)
    assert (action.state, action.held_reason) == ("held", "in_doubt")
    assert balance(ledger) == {"cell-1": 1}
    access = committed_cast.access("operator")
    stop_resume.resume(access, action.pk, "I looked: it is not done", how="rollback", step_done=False)
    now = carry(action)
    assert (now.state, now.held_reason) == ("held", "rollback_failed"), "a blind undo cannot be verified either"
    assert balance(ledger) == {}
    assert stop_resume.resume(access, action.pk, "done by hand", how="give_up").state == "failed"


def test_a_person_may_say_that_the_step_in_doubt_is_done(committed_cast, ledger_type, ledger):
    ledger_type.before = lambda ctx: Outcome(False, "lost", "?") if ctx.step["key"].startswith("002") else None
    action = run(committed_cast, steps=3, blind=True)
    assert (action.state, action.held_reason) == ("held", "in_doubt")
    stop_resume.resume(committed_cast.access("operator"), action.pk, "the provider says it ran", step_done=True)
    now = carry(action)
    assert "step.resolved" in verbs_of(action)
    assert now.error["code"] == "verification_failed", "a person's word does not replace the verification"
    receipts = JournalEntry.objects.filter(action=action, kind="receipt").values_list("step", flat=True)
    assert len(receipts) == 3


def test_a_failing_undo_holds_the_action_and_can_be_tried_again(committed_cast, ledger_type, ledger):
    action = run(committed_cast, steps=2, fail_verify=True, fail_undo_at=1)
    assert (action.state, action.held_reason) == ("held", "rollback_failed")
    assert balance(ledger) == {"cell-1": 1}
    stop_resume.resume(committed_cast.access("operator"), action.pk, "try again")
    now = carry(action)
    assert now.state == "held"
    undo = JournalEntry.objects.filter(action=action, kind="undo_failure").values_list("attempt", flat=True)
    assert sorted(undo) == [1, 2]


def test_an_abort_is_obeyed_at_the_next_checkpoint_and_undoes(committed_cast, ledger_type, ledger):
    action = propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True)

    def stop(ctx):
        if ctx.step["key"].startswith("002"):
            commands_stop.abort(committed_cast.access("operator"), action.pk, "stop it")
            connection.close()

    ledger_type.before = stop
    now = carry(action)
    assert (now.state, now.error["code"]) == ("rolled_back", "aborted")
    assert balance(ledger) == {}
    assert not any(e["cell"] == "cell-3" for e in read_ledger(ledger))
    with pytest.raises(WrongState):
        commands_stop.abort(committed_cast.access("operator"), action.pk, "again")


def test_a_long_step_hears_of_an_abort_while_it_runs(committed_cast, ledger_type, ledger):
    action = propose(committed_cast, type="ledger", parameters={"steps": 1, "sleep_ms": 30_000}, accept=True)

    def stop():
        commands_stop.abort(committed_cast.access("operator"), action.pk, "too slow")
        connection.close()

    timer = threading.Timer(1.0, stop)
    timer.start()
    started = time.monotonic()
    now = carry(action)
    timer.join()
    assert time.monotonic() - started < 10
    assert now.state in ("failed", "rolled_back")
    assert now.error["code"] == "aborted"
    assert balance(ledger) == {}


def test_a_worker_that_wakes_after_its_lease_can_write_nothing(committed_cast, ledger_type, ledger):
    action = propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True)
    taken_over: list[str] = []

    def overslept(ctx):
        if ctx.step["key"].startswith("002") and not taken_over:
            taken_over.append("now")
            Lease.objects.filter(ended_at=None).update(expires_at=Now() - timedelta(seconds=1))
            end_expired_leases()
            other = Runner("execute")
            other.drain()
            other.stop()
            taken_over.append(Action.objects.get(pk=action.pk).state)
            connection.close()

    ledger_type.before = overslept
    now = carry(action)
    assert taken_over == ["now", "completed"]
    assert now.state == "completed"
    assert doubles(ledger) == []
    assert JournalEntry.objects.filter(action=action, kind="receipt").count() == 3
    assert verbs_of(action).count("action.complete") == 1
    assert verbs_of(action).count("lease.lost") == 1


def test_an_action_waits_for_its_time(committed_cast, ledger_type, ledger):
    later = database_time() + timedelta(hours=1)
    action = carry(propose(committed_cast, type="ledger", parameters={}, accept=True, not_before=later))
    assert action.state == "approved"
    assert waiting_queues() == []
    Action.objects.filter(pk=action.pk).update(not_before=database_time() - timedelta(seconds=1))
    assert waiting_queues() == ["execute"]
    assert carry(action).state == "completed"


def test_a_request_that_nobody_decides_expires_with_its_action(committed_cast):
    (root_of(committed_cast.prod) / "app.conf").write_text("before\n")
    action = carry(propose(committed_cast, environment="prod", parameters=edit()))
    assert expire_overdue() == 0
    Request.objects.filter(subject_id=action.pk).update(expires_at=database_time() - timedelta(seconds=1))
    assert expire_overdue() == 1
    assert Action.objects.get(pk=action.pk).state == "expired"
    assert Request.objects.get(subject_id=action.pk).state == "expired"
    with pytest.raises(WrongState):
        review.approve(committed_cast.access("approver"), action.pk, True, action.plan.digest, "")


def test_an_approval_that_is_not_used_in_time_expires(committed_cast, ledger_type):
    later = database_time() + timedelta(hours=1)
    action = carry(propose(committed_cast, type="ledger", parameters={}, accept=True, not_before=later))
    Action.objects.filter(pk=action.pk).update(expires_at=database_time() - timedelta(seconds=1))
    assert expire_overdue() == 1
    assert Action.objects.get(pk=action.pk).state == "expired"


def test_an_approval_whose_time_is_up_starts_nothing_even_if_no_sweep_has_been_by(committed_cast):
    """All workers were away for a day: whichever queue wakes first, the run must not begin."""
    path = root_of(committed_cast.prod) / "app.conf"
    path.write_text("before\n")
    later = database_time() + timedelta(hours=1)
    action = carry(propose(committed_cast, environment="prod", parameters=edit(), not_before=later))
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), action.pk, True, action.plan.digest, "")
    yesterday = database_time() - timedelta(days=1)
    Action.objects.filter(pk=action.pk).update(expires_at=yesterday, not_before=yesterday)
    assert carry(action).state == "approved"
    assert (expire_overdue(), carry(action).state) == (1, "expired")
    assert (verbs_of(action)[-1], path.read_text()) == ("action.expire", "before\n")


def test_a_target_that_keeps_drifting_is_held_after_three_new_plans(committed_cast):
    path = root_of(committed_cast.dev) / "app.conf"
    path.write_text("0\n")
    action = carry(propose(committed_cast, parameters=edit()))
    for n in range(4):
        review.accept(committed_cast.access("operator"), action.pk, action.plan.digest)
        path.write_text(f"drift {n}\n")
        action = carry(action)
    assert (action.state, action.held_reason) == ("held", "replans")
    assert not JournalEntry.objects.filter(action=action).exists()
    assert path.read_text() == "drift 3\n"


def test_an_action_whose_executor_is_gone_fails_in_words_and_stops_nobody_else(committed_cast, ledger_type):
    orphan = propose(committed_cast, type="ledger", parameters={}, accept=True)
    Action.objects.filter(pk=orphan.pk).update(type="gone")
    other = propose(committed_cast, type="ledger", parameters={}, accept=True)
    assert carry(other).state == "completed"
    now = Action.objects.get(pk=orphan.pk)
    assert (now.state, now.error["code"]) == ("failed", "executor_missing")


def test_a_fault_of_ours_in_one_script_fails_that_action_and_no_other(committed_cast, ledger_type, monkeypatch):
    from actions.preflight import workflow

    sound = workflow.verdict_transition
    monkeypatch.setattr(
        workflow, "verdict_transition", lambda context, r: 1 / 0 if context.action.title == "bad" else sound(context, r)
    )
    bad = propose(committed_cast, type="ledger", parameters={}, accept=True, title="bad")
    good = propose(committed_cast, type="ledger", parameters={}, accept=True, title="good")
    assert carry(good).state == "completed"
    now = Action.objects.get(pk=bad.pk)
    assert (now.state, now.error["code"]) == ("failed", "internal_error")


def test_a_lost_lease_is_ended_with_its_reason_and_its_actions_are_free(committed_cast, ledger_type):
    action = propose(committed_cast, type="ledger", parameters={}, accept=True)
    late = Lease.objects.create(queue="decide", worker="gone:1", expires_at=Now() - timedelta(seconds=1))
    Action.objects.filter(pk=action.pk).update(lease=late)
    assert end_expired_leases() == 1
    late.refresh_from_db()
    assert (late.ended_at is not None, late.ended_why) == (True, "not renewed in time")
    event = Event.objects.get(subject_id=action.pk, verb="lease.lost")
    assert event.actor == "system:sweep"
    assert end_expired_leases() == 0
    assert carry(action).state == "completed"


def test_a_file_that_changes_while_the_run_is_under_way_stops_it_and_restores_the_others(committed_cast, monkeypatch):
    root = root_of(committed_cast.dev)
    for name in ("a.conf", "b.conf"):
        (root / name).write_text("before\n")
    parameters = {"changes": edit("a.conf")["changes"] + edit("b.conf")["changes"]}
    executor = registry.get_executor("modify_files")
    sound = type(executor).apply

    def meddled(self, ctx):
        if ctx.step["target"].endswith("b.conf"):
            (root / "b.conf").write_text("somebody was faster\n")
        return sound(self, ctx)

    monkeypatch.setattr(type(executor), "apply", meddled)
    action = carry(propose(committed_cast, parameters=parameters, accept=True))
    assert (action.state, action.error["code"]) == ("rolled_back", "precondition")
    assert (root / "a.conf").read_text() == "before\n"
    assert (root / "b.conf").read_text() == "somebody was faster\n"


def test_nothing_runs_for_a_requester_whose_account_was_closed(committed_cast, ledger_type, ledger):
    later = database_time() + timedelta(hours=1)
    action = carry(propose(committed_cast, type="ledger", parameters={}, accept=True, not_before=later))
    committed_cast.operator.is_active = False
    committed_cast.operator.save()
    Action.objects.filter(pk=action.pk).update(not_before=database_time() - timedelta(seconds=1))
    now = carry(action)
    assert (now.state, now.error["code"]) == ("failed", "requester_inactive")
    assert read_ledger(ledger) == []


def test_an_approval_lives_until_after_the_time_it_is_for(committed_cast, ledger_type):
    later = database_time() + timedelta(days=3)
    action = carry(propose(committed_cast, type="ledger", parameters={}, accept=True, not_before=later))
    assert action.expires_at > later


def test_a_rollback_after_giving_up_undoes_the_step_that_stayed_in_doubt(committed_cast, ledger_type, ledger):
    def lost(ctx):
        if ctx.step["key"].startswith("002"):
            ledger_type._write(ctx, "do", 1)
            return Outcome(False, "lost", "No answer.")
        return None

    ledger_type.before = lost
    ledger_type.probe = lambda ctx: Probe.UNKNOWN
    action = run(committed_cast, steps=3)
    assert (action.state, action.held_reason) == ("held", "in_doubt")
    access = committed_cast.access("operator")
    stop_resume.resume(access, action.pk, "cannot tell", how="give_up")
    rollback.rollback(access, action.pk, "undo whatever is there")
    assert carry(action).state == "rolled_back"
    assert balance(ledger) == {}
