"""Steps backward: in the order that was approved, all or as many as can be, and read again at the end."""

import json

import pytest

from actions.commands import stop_resume as commands_stop
from actions.models import Action, Quarantine
from actions.types.protocol import Outcome, Probe
from audit.log.artifacts import read_artifact
from audit.models import Event
from tests.actions.factory import propose
from tests.actions.running import called, carry, verbs_of
from tests.support.ledger_executor import balance, read_ledger

pytestmark = pytest.mark.django_db(transaction=True)


def run(cast, steps=3, rollback=None, checks=(), watch=None, **parameters) -> Action:
    return carry(
        propose(
            cast,
            type="ledger",
            parameters={"steps": steps, **parameters},
            rollback=rollback or {},
            accept=True,
            checks=list(checks),
            watch=watch or {},
        )
    )


def undone_cells(ledger) -> list[str]:
    return [e["cell"] for e in read_ledger(ledger) if e["verb"] == "undo"]


def report_of(action: Action) -> dict:
    """The report of the last event that names one."""
    for body in Event.objects.filter(subject_id=action.pk).order_by("-seq").values_list("body", flat=True):
        for digest in json.loads(bytes(body))["artifacts"]:
            document = json.loads(read_artifact(action.tenant_id, digest))
            if document.get("format") == "interlock.rollback/1":
                return document
    raise AssertionError("no report")


def facts_of(action: Action, verb: str) -> dict:
    body = Event.objects.filter(subject_id=action.pk, verb=verb).latest("seq").body
    return json.loads(bytes(body))["facts"]


@pytest.mark.parametrize(("order", "cells"), [("reverse", ["cell-2", "cell-1"]), ("forward", ["cell-1", "cell-2"])])
def test_steps_are_undone_in_the_order_of_the_plan(committed_cast, ledger_type, ledger, order, cells):
    action = run(committed_cast, rollback={"order": order}, fail_at=3)
    assert action.state == "rolled_back"
    assert undone_cells(ledger) == cells
    report = report_of(action)
    assert (report["ok"], report["order"], report["remains"]) == (True, order, [])
    assert [c["ok"] for c in report["checks"]] == [True, True]


def test_an_undo_that_fails_stops_the_way_back_and_quarantines_what_it_left(committed_cast, ledger_type, ledger):
    action = run(committed_cast, fail_at=3, fail_undo_at=2)
    assert (action.state, action.held_reason) == ("held", "rollback_failed")
    assert balance(ledger) == {"cell-1": 1, "cell-2": 1}
    shut = Quarantine.objects.get()
    assert (shut.kind, shut.name, shut.because) == ("cell", "cell-2", "undo_failed")
    assert shut.action_id == action.pk and shut.cleared_at is None
    assert facts_of(action, "quarantine.set")["resources"] == [{"kind": "cell", "name": "cell-2"}]


def test_with_best_effort_the_others_are_undone_and_what_is_left_is_named(committed_cast, ledger_type, ledger):
    action = run(committed_cast, rollback={"mode": "best-effort"}, fail_at=3, fail_undo_at=2)
    assert action.state == "failed"
    assert balance(ledger) == {"cell-2": 1}
    assert facts_of(action, "action.fail") | {"from": 0, "to": 0, "prediction_accuracy": 0} == {
        "remains": ["002:cell-2"],
        "quarantined": ["cell cell-2"],
        "from": 0,
        "to": 0,
        "prediction_accuracy": 0,
    }
    assert action.result["error"]["details"]["remains"] == ["002:cell-2"]
    assert report_of(action)["ok"] is False
    assert Quarantine.objects.get().name == "cell-2"


def test_what_an_undo_only_says_it_did_does_not_count_as_rolled_back(committed_cast, ledger_type, ledger):
    """An undo that a later one spoils: each looked well when it was made."""
    asked: list[str] = []

    def probe_undo(ctx):
        asked.append(ctx.step["key"])
        return Probe.NOT_DONE if asked.count("001:cell-1") > 1 else Probe.DONE

    ledger_type.probe_undo = probe_undo
    action = run(committed_cast, steps=2, fail_at=2)
    assert (action.state, action.held_reason) == ("held", "rollback_failed")
    assert facts_of(action, "action.hold")["step"] == "001:cell-1"
    assert report_of(action)["checks"][0]["ok"] is False
    assert Quarantine.objects.get().name == "cell-1"


def test_a_state_before_that_is_not_as_it_was_planned_is_not_rolled_back(committed_cast, ledger_type, monkeypatch):
    """The probe holds, but what would be changed is no longer as it was."""
    plan = type(ledger_type).plan
    spoiled = []

    def planned(self, parameters, target):
        draft = plan(self, parameters, target)
        for step in draft.steps if spoiled else []:
            step["precondition"] = {"sha256": "other"}
        return draft

    monkeypatch.setattr(type(ledger_type), "plan", planned)
    ledger_type.before = lambda ctx: spoiled.append(1) if ctx.step["key"].startswith("002") else None
    action = run(committed_cast, steps=2, fail_at=2)
    assert (action.state, action.held_reason) == ("held", "rollback_failed")
    assert "The previous state is not restored." in report_of(action)["checks"][0]["detail"]


def test_irreversible_steps_remain_and_are_named(committed_cast, ledger_type, ledger):
    action = run(committed_cast, final=[2], fail_at=3)
    assert action.state == "failed"
    assert balance(ledger) == {"cell-2": 1}
    assert facts_of(action, "action.fail")["remains"] == ["002:cell-2"]
    assert facts_of(action, "action.fail")["quarantined"] == []
    assert not Quarantine.objects.exists()


def test_nothing_irreversible_begins_while_something_before_it_is_not_well(committed_cast, ledger_type, ledger):
    ledger_type.probe = lambda ctx: Probe.NOT_DONE
    action = run(committed_cast, final=[3])
    assert (action.state, action.error["code"]) == ("rolled_back", "no_return_unhealthy")
    assert balance(ledger) == {}
    assert "cell-3" not in {e["cell"] for e in read_ledger(ledger)}
    assert action.error["details"]["checks"] == ["Add to cell-1", "Add to cell-2"]


@pytest.mark.parametrize(("marks", "ends"), [({}, "rolled_back"), ({"before_no_return": False}, "rolled_back")])
def test_the_checks_of_the_action_must_hold_before_the_point_of_no_return(
    committed_cast, ledger_type, ledger, marks, ends
):
    check = {"kind": "file", "path": "sign", "exists": True, **marks}
    action = run(committed_cast, steps=2, final=[2], checks=[check])
    begun = "cell-2" in {e["cell"] for e in read_ledger(ledger)}
    assert begun is (marks != {})  # one that need not hold before is asked at the end, when it is too late
    assert action.state == ("failed" if begun else ends)


def test_an_irreversible_step_waits_for_all_that_can_be_undone(committed_cast, ledger_type, ledger):
    action = run(committed_cast, steps=4, after=[[], [], [2], []], final=[1])
    assert action.state == "completed"
    assert [e["cell"] for e in read_ledger(ledger)][-1] == "cell-1"
    assert "run.point_of_no_return_passed" in verbs_of(action)


def test_an_abort_says_whether_it_cut_an_attempt_short(committed_cast, ledger_type, ledger):
    access = committed_cast.access("operator")

    def stop(ctx):
        if ctx.step["key"].startswith("002"):
            ledger_type.wish()
            return Outcome(False, "stopped", "Stopped.") if ledger_type.cut else None
        return None

    ledger_type.before = stop
    for cut, how in ((False, "at_checkpoint"), (True, "cancelled_attempt")):
        action = propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True)
        ledger_type.cut = cut
        ledger_type.wish = lambda pk=action.pk: called(commands_stop.abort, access, pk, "wrong window")
        action = carry(action)
        assert action.state == "rolled_back"
        assert facts_of(action, "action.roll_back")["stopped"] == how
        assert action.error["details"]["stopped"] == how
    assert balance(ledger) == {}
