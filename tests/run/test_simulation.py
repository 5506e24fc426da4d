"""Simulation: the whole way through preflight, rules and steps, and nothing is changed."""

import json
from pathlib import Path

import pytest

from actions.commands.propose import retry
from actions.commands.rollback import rollback
from actions.commands.stop_resume import abort, resume_verb
from actions.engine.runner import Runner
from actions.errors import BadSubmission, OnlySimulated, WrongState
from actions.intake.submission import Submission
from actions.lifecycle.allowed import allowed_verbs, find_action
from actions.models import Action, PredictionAccuracy, ResourceLock
from actions.queries.action_detail import serialize_action
from actions.types.modify_files.executor import ModifyFiles
from actions.types.registry import register_executor
from approvals.models import MatrixRow
from audit.log.artifacts import read_artifact
from audit.models import Event
from tests.actions.factory import edit, propose, root_of
from tests.actions.running import carry, verbs_of
from tests.policies.factory import published

pytestmark = pytest.mark.django_db(transaction=True)


class Explodes(ModifyFiles):
    """Fails the test if anything is carried out or undone."""

    def apply(self, ctx):
        raise AssertionError("a simulation must not apply")

    compensate = apply


@pytest.fixture
def nothing_may_happen():
    with register_executor(Explodes()):
        yield


def facts_of(action: Action) -> list[dict]:
    bodies = Event.objects.filter(subject_id=action.pk).order_by("seq").values_list("body", flat=True)
    return [json.loads(bytes(body))["facts"] for body in bodies]


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_simulation_in_production_asks_nobody_and_changes_nothing(committed_cast, nothing_may_happen):
    (root_of(committed_cast.prod) / "app.conf").write_text("before\nstays\n")
    before = files(root_of(committed_cast.prod))
    parameters = {
        "changes": [*edit(content="after\nstays\n")["changes"], *edit("new.conf", "x\n", "create")["changes"]]
    }
    action = carry(propose(committed_cast, environment="prod", parameters=parameters, mode="simulate"))
    assert (action.state, action.simulated, action.requires_approval) == ("completed", True, False), action.error
    assert files(root_of(committed_cast.prod)) == before
    assert action.steps_done == 2 and action.rollback_reference == ""
    first, second = action.journal_entries.filter(kind="receipt").order_by("pk")
    assert first.log.startswith("Would change app.conf: +1 −1 lines, ") and " → " in first.log
    assert second.log.startswith("Would create new.conf: +1 −0 lines, nothing → ")
    change = first.facts["intended"][0]
    assert (change["path"], change["operation"], change["adds"], change["dels"]) == ("app.conf", "modify", 1, 1)
    assert len(change["before"]) == len(change["after"]) == 64 and first.facts["simulated"] is True
    assert not PredictionAccuracy.objects.exists() and not ResourceLock.objects.exists()
    assert not action.before_images.exists()
    assert all(facts.get("simulated") is True for facts in facts_of(action))


def test_what_was_simulated_is_as_it_was_and_the_report_says_so(committed_cast, nothing_may_happen):
    checks = [{"kind": "file", "path": "notes.txt", "contains": "hello"}]  # would not hold: nothing is written
    action = carry(
        propose(committed_cast, parameters=edit("notes.txt", operation="create"), mode="simulate", checks=checks)
    )
    assert action.state == "completed", action.error
    done = Event.objects.get(subject_id=action.pk, verb="action.complete")
    report = json.loads(read_artifact(action.tenant_id, json.loads(bytes(done.body))["artifacts"][0]))
    (check,) = report["checks"]
    assert report["simulated"] and check["detail"] == "Planning again gives the same plan."


def test_it_cannot_be_undone_and_is_run_for_real_by_a_linked_action(committed_cast):
    action = carry(
        propose(committed_cast, parameters=edit("notes.txt", operation="create"), mode="simulate", accept=True)
    )
    access = committed_cast.access("operator")
    action = find_action(access, action.pk)
    assert "rollback" not in allowed_verbs(access, action) and "retry" in allowed_verbs(access, action)
    with pytest.raises(OnlySimulated) as refused:
        rollback(access, action.pk, "")
    assert "nothing was changed" in refused.value.detail
    again = retry(access, action.pk, "once more")
    real = retry(access, action.pk, "it looked right", mode="apply")
    assert again.simulated and not real.simulated and real.retry_of_id == action.pk
    real = carry(real)
    assert real.state == "awaiting_approval"  # the diff was accepted of a simulation only
    assert (
        serialize_action(access, action)["simulated"] is True and serialize_action(access, real)["simulated"] is False
    )


def test_no_row_of_the_matrix_and_a_policy_bind_a_simulation_too(committed_cast):
    published(committed_cast.acme, expression="plan.deletes > 0")
    simulated = "action.mode == 'simulate' && plan.creates > 0"
    required_approvals = [{"role": "security", "count": 1}]
    published(committed_cast.acme, "ask", expression=simulated, effect="require", required_approvals=required_approvals)
    (root_of(committed_cast.dev) / "app.conf").write_text("x\n")
    denied = carry(propose(committed_cast, parameters=edit(operation="delete"), mode="simulate"))
    assert denied.state == "denied"
    asked = carry(propose(committed_cast, parameters=edit("n.conf", operation="create"), mode="simulate"))
    assert (asked.state, asked.plan.verdict["required_approvals"]) == ("awaiting_approval", required_approvals)
    MatrixRow.objects.filter(environment=committed_cast.staging).delete()
    nowhere = carry(
        propose(committed_cast, environment="staging", parameters=edit("n.conf", operation="create"), mode="simulate")
    )
    assert nowhere.state == "denied"


def test_an_agent_may_simulate_where_it_may_only_recommend(committed_cast):
    action = propose(committed_cast, who="agent", parameters=edit("n.conf", operation="create"), mode="simulate")
    assert carry(action).state == "completed"


def test_a_stop_ends_a_simulation_without_a_way_back(committed_cast, nothing_may_happen):
    action = propose(committed_cast, parameters=edit("n.conf", operation="create"), mode="simulate", accept=True)
    Action.objects.filter(pk=action.pk).update(priority=1)
    decide = Runner("decide")
    decide.drain()
    decide.stop()
    Action.objects.filter(pk=action.pk).update(state="in_progress", started_at=action.created_at)
    abort(committed_cast.access("operator"), action.pk, "enough")
    ended = carry(action)
    assert ended.state == "failed" and ended.error["code"] == "aborted"
    assert "action.roll_back" not in verbs_of(ended)


def test_a_held_simulation_is_not_rolled_back(committed_cast):
    held = Action(state="held", held_reason="policy", simulated=True, started_at="2026-01-01T00:00:00Z")
    with pytest.raises(WrongState, match="nothing was changed"):
        resume_verb(held, "rollback", None)


def test_a_mode_that_is_none_is_refused_and_the_usual_one_keeps_a_keys_meaning(committed_cast):
    with pytest.raises(BadSubmission) as refused:
        propose(committed_cast, mode="pretend", parameters=edit())
    assert [i["field"] for i in refused.value.extra["issues"]] == ["mode"]
    usual, simulated = Submission("modify_files", "dev"), Submission("modify_files", "dev", mode="simulate")
    assert usual.body_digest() != simulated.body_digest()
    assert (
        "mode" not in vars(usual)
        or usual.body_digest() == Submission("modify_files", "dev", mode="apply").body_digest()
    )
