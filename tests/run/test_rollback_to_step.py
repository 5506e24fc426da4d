"""Back to a checkpoint: what came after one step is undone, and a person says how to go on from there."""

import pytest

from actions.commands import stop_resume
from actions.commands.rollback import rollback_targets, rollback_to_step
from actions.errors import NotAllowed, WrongState
from actions.models import Action, JournalEntry, Quarantine
from actions.types import registry
from actions.types.protocol import Outcome, Probe
from audit.errors import Invalid
from tests.actions.factory import propose
from tests.actions.running import called, carry, verbs_of
from tests.support.ledger_executor import Hooked, balance, doubles, read_ledger

pytestmark = pytest.mark.django_db(transaction=True)


def cells(*numbers) -> dict[str, int]:
    return {f"cell-{n}": 1 for n in numbers}


@pytest.fixture
def at_step_three(committed_cast, ledger_type):
    """A run of four steps that is taken back to its first step while it does the third."""
    access = committed_cast.access("operator")
    action = propose(committed_cast, type="ledger", parameters={"steps": 4}, accept=True)
    asked: list[str] = []

    def ask(ctx):
        if ctx.step["key"].startswith("003") and not asked:
            asked.append("x")
            called(rollback_to_step, access, action.pk, "001:cell-1", "too far")

    ledger_type.before = ask
    return carry(action)


def test_a_run_goes_back_to_just_after_a_step_and_holds_there(at_step_three, ledger):
    assert (at_step_three.state, at_step_three.held_reason) == ("held", "checkpoint")
    assert balance(ledger) == cells(1)
    assert (at_step_three.steps_done, at_step_three.rollback_to) == (1, "")
    assert "action.rollback_requested" in verbs_of(at_step_three)


def test_from_a_checkpoint_it_can_go_on_and_does_again_what_was_undone(committed_cast, at_step_three, ledger):
    stop_resume.resume(committed_cast.access("operator"), at_step_three.pk, "go on", how="continue")
    action = carry(at_step_three)
    assert action.state == "completed"
    assert balance(ledger) == cells(1, 2, 3, 4)
    assert doubles(ledger) == []


def test_from_a_checkpoint_it_can_go_back_wholly(committed_cast, at_step_three, ledger):
    stop_resume.resume(committed_cast.access("operator"), at_step_three.pk, "no", how="rollback")
    assert carry(at_step_three).state == "rolled_back"
    assert balance(ledger) == {}


def test_from_a_checkpoint_it_can_be_given_up(committed_cast, at_step_three, ledger):
    stop_resume.resume(committed_cast.access("operator"), at_step_three.pk, "as it is", how="give_up")
    assert carry(at_step_three).state == "failed"
    assert balance(ledger) == cells(1)


def test_a_held_action_goes_back_to_a_checkpoint_too_and_failed_steps_are_begun_anew(
    committed_cast, ledger_type, ledger
):
    """Its undo would not work at one step; once that is put right, the run may go on from before it."""
    ledger_type.before = lambda ctx: Outcome(False, "broken", "No.") if "004" in ctx.step["key"] else None
    parameters = {"steps": 4, "fail_undo_at": 3}
    held = carry(propose(committed_cast, type="ledger", parameters=parameters, accept=True))
    assert (held.state, held.held_reason) == ("held", "rollback_failed")
    compensate = ledger_type.compensate
    ledger_type.compensate = lambda ctx: compensate(ctx) if "003" not in ctx.step["key"] else undo(ledger_type, ctx)
    rollback_to_step(committed_cast.access("operator"), held.pk, "001:cell-1", "from there")
    held = carry(held)
    assert (held.state, held.held_reason) == ("held", "checkpoint")
    assert balance(ledger) == cells(1)
    ledger_type.before = lambda ctx: None
    stop_resume.resume(committed_cast.access("operator"), held.pk, "put right", how="continue")
    assert carry(held).state == "completed"
    assert balance(ledger) == cells(1, 2, 3, 4)
    assert Quarantine.objects.get().cleared_at is None  # what was in quarantine stays there until people clear it


def undo(executor, ctx):
    return Outcome(True, facts={"changed": executor._write(ctx, "undo", -1)})


def test_a_checkpoint_must_be_one(committed_cast, at_step_three):
    access = committed_cast.access("operator")
    with pytest.raises(WrongState, match="is not done"):
        rollback_to_step(access, at_step_three.pk, "003:cell-3", "")
    with pytest.raises(Invalid, match="no step"):
        rollback_to_step(access, at_step_three.pk, "nine", "")
    with pytest.raises(NotAllowed):
        rollback_to_step(committed_cast.access("approver"), at_step_three.pk, "001:cell-1", "")
    stop_resume.resume(access, at_step_three.pk, "", how="give_up")
    with pytest.raises(WrongState, match="is failed"):
        rollback_to_step(access, at_step_three.pk, "001:cell-1", "")


def test_there_is_no_way_back_before_what_cannot_be_undone(committed_cast, ledger_type):
    ledger_type.before = lambda ctx: Outcome(False, "lost", "Who knows?") if "004" in ctx.step["key"] else None
    probe = ledger_type.probe
    ledger_type.probe = lambda ctx: Probe.UNKNOWN if "004" in ctx.step["key"] else probe(ctx)
    parameters = {"steps": 4, "final": [2]}
    held = carry(propose(committed_cast, type="ledger", parameters=parameters, accept=True))
    assert (held.state, held.held_reason) == ("held", "in_doubt")
    access = committed_cast.access("operator")
    with pytest.raises(WrongState, match="cannot be undone"):
        rollback_to_step(access, held.pk, "001:cell-1", "")
    with pytest.raises(WrongState, match="took effect"):
        rollback_to_step(access, held.pk, "003:cell-3", "")
    assert [b.key for b in rollback_targets(held, JournalEntry.objects.filter(action=held).order_by("pk"))] == [
        "003:cell-3",
        "002:cell-2",
    ]


def test_who_gives_up_a_step_in_doubt_leaves_its_resource_in_quarantine(committed_cast, ledger_type):
    ledger_type.before = lambda ctx: Outcome(False, "lost", "Who knows?") if "002" in ctx.step["key"] else None
    parameters = {"steps": 2, "blind": True}
    held = carry(propose(committed_cast, type="ledger", parameters=parameters, accept=True))
    stop_resume.resume(committed_cast.access("operator"), held.pk, "cannot tell", how="give_up")
    shut = Quarantine.objects.get()
    assert (shut.name, shut.because, shut.action_id) == ("cell-2", "in_doubt", held.pk)
    assert "quarantine.set" in verbs_of(held)


def test_a_worker_lost_on_the_way_to_a_checkpoint_changes_nothing_about_where_it_ends(committed_cast, ledger):
    """Its undo intent is open; whoever takes the action up probes it, and still ends at the checkpoint."""
    with registry.register_executor(Hooked()) as executor:
        access = committed_cast.access("operator")
        action = propose(committed_cast, type="ledger", parameters={"steps": 4}, accept=True)
        asked: list[str] = []

        def ask(ctx):
            if "004" in ctx.step["key"] and not asked:
                asked.append("x")
                called(rollback_to_step, access, action.pk, "002:cell-2", "")

        executor.before = ask
        carry(action)
    line = JournalEntry.objects.filter(action=action, step="003:cell-3", kind="undo_receipt")
    Action.objects.filter(pk=action.pk).update(state="rolling_back", rollback_to="002:cell-2", held_reason="")
    line.delete()
    with registry.register_executor(Hooked()):
        again = carry(action)
    assert (again.state, again.held_reason) == ("held", "checkpoint")
    assert balance(ledger) == cells(1, 2)
    assert doubles(ledger) == [] and len(read_ledger(ledger)) == 6
