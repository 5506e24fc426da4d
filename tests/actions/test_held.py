"""What a person may do with a held action: never more than was approved, never blindly."""

import pytest

from actions.commands import propose, review, rollback, stop_resume
from actions.errors import WrongState
from actions.lifecycle.commit import action_subject
from actions.models import Action, BeforeImage, JournalEntry
from actions.types import registry
from actions.types.protocol import Outcome
from approvals.models import MatrixRow
from audit.log.events import NewEvent, record
from tests.actions.factory import edit, root_of
from tests.actions.factory import propose as factory_propose
from tests.actions.running import carry, verbs_of
from tests.support.ledger_executor import LedgerExecutor, balance, read_ledger

pytestmark = pytest.mark.django_db(transaction=True)


class Losing(LedgerExecutor):
    """A ledger whose second step answers nothing that could be believed."""

    def apply(self, ctx):
        done = super().apply(ctx)
        return Outcome(False, "lost", "The answer was lost.") if ctx.step["key"].startswith("002") else done


@pytest.fixture
def in_doubt(committed_cast):
    with registry.register_executor(Losing()):
        parameters = {"steps": 2, "blind": True}
        yield carry(factory_propose(committed_cast, type="ledger", parameters=parameters, accept=True))


@pytest.fixture
def drifting(committed_cast):
    """Held because its target drifted after each of four acceptances; two files, of which one is as it was planned."""
    root = root_of(committed_cast.dev)
    for name in ("a.conf", "b.conf"):
        (root / name).write_text("before\n")
    parameters = {"changes": edit("a.conf")["changes"] + edit("b.conf")["changes"]}
    action = carry(factory_propose(committed_cast, parameters=parameters))
    for n in range(4):
        review.accept(committed_cast.access("operator"), action.pk, action.plan.digest)
        (root / "b.conf").write_text(f"drift {n}\n")
        action = carry(action)
    assert (action.state, action.held_reason, action.started_at) == ("held", "replans", None)
    return action


@pytest.mark.parametrize("how", ["", "continue", "rollback"])
def test_an_action_held_before_it_began_cannot_be_let_run(committed_cast, drifting, how):
    MatrixRow.objects.filter(environment=committed_cast.dev).update(
        required_approvals=[{"role": "approver", "count": 2}]
    )
    with pytest.raises(WrongState, match="never started"):
        stop_resume.resume(committed_cast.access("operator"), drifting.pk, "go", how=how)
    assert carry(drifting).state == "held"
    assert verbs_of(drifting)[-1] == "action.hold"
    assert not JournalEntry.objects.filter(action=drifting).exists()
    assert (root_of(committed_cast.dev) / "a.conf").read_text() == "before\n"


def test_an_action_held_before_it_began_can_be_given_up_and_proposed_again(committed_cast, drifting):
    access = committed_cast.access("operator")
    assert stop_resume.resume(access, drifting.pk, "", how="give_up").state == "failed"
    again = carry(propose.retry(access, drifting.pk, "now it is quiet"))
    assert (again.state, again.retry_of_id) == ("awaiting_approval", drifting.pk)
    assert not BeforeImage.objects.filter(action=drifting).exists()


@pytest.mark.parametrize("how", ["", "continue", "rollback"])
def test_a_step_in_doubt_is_neither_repeated_nor_forgotten_without_a_persons_word(committed_cast, in_doubt, how):
    ledger = root_of(committed_cast.dev) / ".ledger"
    assert (in_doubt.state, in_doubt.held_reason) == ("held", "in_doubt")
    before = read_ledger(ledger)
    with pytest.raises(WrongState, match="took effect"):
        stop_resume.resume(committed_cast.access("operator"), in_doubt.pk, "go", how=how)
    assert carry(in_doubt).state == "held"
    assert read_ledger(ledger) == before


def test_the_verb_rollback_asks_for_that_word_too(committed_cast, in_doubt):
    with pytest.raises(WrongState, match="took effect"):
        rollback.rollback(committed_cast.access("operator"), in_doubt.pk, "undo it")
    assert Action.objects.get(pk=in_doubt.pk).state == "held"


def test_a_step_that_a_person_found_done_is_undone_with_the_others(committed_cast, in_doubt):
    access = committed_cast.access("operator")
    stop_resume.resume(access, in_doubt.pk, "the provider says it ran", how="rollback", step_done=True)
    with registry.register_executor(Losing()):
        carry(in_doubt)
    assert balance(root_of(committed_cast.dev) / ".ledger").get("cell-2", 0) == 0


def test_an_event_that_comes_meanwhile_turns_nobody_away(committed_cast, in_doubt, monkeypatch):
    resume_verb = stop_resume.resume_verb

    def meanwhile(action, *asked):
        record(NewEvent(action.tenant_id, action_subject(action), "incident.opened", "system:incidents"))
        return resume_verb(action, *asked)

    monkeypatch.setattr(stop_resume, "resume_verb", meanwhile)
    access = committed_cast.access("operator")
    stop_resume.resume(access, in_doubt.pk, "the provider says it ran", how="continue", step_done=True)
    assert {"incident.opened", "step.resolved", "action.resume"} <= set(verbs_of(in_doubt))


def test_a_rollback_that_met_a_fault_of_ours_goes_on_backward(committed_cast, monkeypatch):
    """Whoever lets it go on means the rollback: a run whose checks did not hold must not end completed."""
    root = root_of(committed_cast.dev)
    (root / "app.conf").write_text("before\n")
    checks = [{"kind": "file", "path": "sign", "exists": True}]
    action = factory_propose(committed_cast, parameters=edit(), checks=checks, accept=True)
    with monkeypatch.context() as patch:
        patch.setattr("actions.lifecycle.context.decrypt", lambda *args: 1 / 0)
        held = carry(action)
    assert (held.state, held.held_reason) == ("held", "internal_error")
    assert (root / "app.conf").read_text() == "after\n"
    (root / "sign").write_text("the check would hold now")
    stop_resume.resume(committed_cast.access("operator"), action.pk, "the key is back", how="continue")
    now = carry(action)
    assert (now.state, (root / "app.conf").read_text()) == ("rolled_back", "before\n")
