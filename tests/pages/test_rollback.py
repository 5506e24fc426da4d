"""Stopping and going back, in a browser without scripts: first what would happen, then the word that makes it so."""

from typing import Any

from actions.lifecycle.commit import action_subject
from actions.models import Action, JournalEntry
from audit.log.events import NewEvent, record
from tests.cast import Cast
from tests.pages.conftest import Propose, a_file

HX = {"HX-Request": "true"}


def three_files() -> dict[str, Any]:
    return {"changes": [change for name in "abc" for change in a_file(f"{name}.txt")["changes"]]}


def in_its_third_step(propose: Propose) -> Action:
    """A run as it stands while its third step goes on."""
    action = propose("dev", accept=True, parameters=three_files())
    JournalEntry.objects.filter(action=action).order_by("-pk").first().delete()
    Action.objects.filter(pk=action.pk).update(state="in_progress", completed_at=None, steps_done=2, result=None)
    return Action.objects.get(pk=action.pk)


def test_the_first_press_says_what_stopping_would_do_and_stops_nothing(place: Cast, propose: Propose) -> None:
    action = in_its_third_step(propose)
    client = place.client("operator")
    page = client.get(f"/actions/{action.pk}/abort/").content.decode()
    runs, undone = page.split("Running now")[1].split("Will be undone")
    assert "c.txt" in runs and "b.txt" not in runs
    assert undone.index("b.txt") < undone.index("a.txt") and "newest first" in undone
    assert "Cannot be undone" not in page and "Keep running" in page
    assert Action.objects.get(pk=action.pk).stop_requested_at is None
    sent = client.post(f"/actions/{action.pk}/abort/", {"reason": "wrong window"})
    assert sent["Location"] == f"/actions/{action.pk}/run/"
    assert Action.objects.get(pk=action.pk).stop_requested_at is not None
    assert "Nothing to abort" in client.get(f"/actions/{action.pk}/abort/").content.decode()


def test_the_panel_is_armed_and_disarmed_in_place(place: Cast, propose: Propose) -> None:
    action = in_its_third_step(propose)
    client = place.client("operator")
    armed = client.get(f"/actions/{action.pk}/abort/", headers=HX).content.decode()
    safe = client.get(f"/actions/{action.pk}/abort/?keep=1", headers=HX).content.decode()
    assert "<html" not in armed and 'data-state="armed"' in armed and 'id="abort-panel"' in armed
    assert 'data-state="safe"' in safe and "Abort and roll back" not in safe


def test_what_cannot_be_undone_is_said_beforehand(place: Cast, propose: Propose) -> None:
    action = in_its_third_step(propose)
    plan = action.plan
    assert plan is not None
    plan.steps[0]["compensation"]["kind"] = "irreversible"
    plan.save(update_fields=["steps"])
    page = place.client("operator").get(f"/actions/{action.pk}/abort/").content.decode()
    assert (
        "a.txt" in page.split("Cannot be undone")[1] and "a.txt" not in page.split("Will be undone")[1].split("<dt>")[0]
    )


def test_a_run_is_taken_back_to_a_checkpoint_from_its_page(place: Cast, propose: Propose) -> None:
    action = in_its_third_step(propose)
    client = place.client("operator")
    page = client.get(f"/actions/{action.pk}/run/").content.decode()
    first = action.plan.steps[0]["key"]
    assert "Roll back to a checkpoint" in page and f'value="{first}"' in page
    assert "Roll back to a checkpoint" not in place.client("auditor").get(f"/actions/{action.pk}/run/").content.decode()
    client.post(f"/actions/{action.pk}/rollback/", {"to": first, "reason": "too far"})
    now = Action.objects.get(pk=action.pk)
    assert (now.stop_reason, now.rollback_to) == ("checkpoint", first)
    assert "Rollback to a checkpoint requested" in client.get(f"/actions/{action.pk}/run/").content.decode()


def test_the_review_says_how_it_would_go_back(place: Cast, propose: Propose) -> None:
    action = propose("prod", rollback={"order": "forward", "mode": "best-effort"})
    page = place.client("approver").get(f"/actions/{action.pk}/").content.decode()
    said = page.split('id="way-back"')[1].split("</p>")[0]
    assert "oldest step first" in said and "is quarantined and the rollback continues" in said


def test_what_a_way_back_found_is_shown_when_it_has_ended(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True, checks=[{"kind": "file", "path": "notes.txt", "contains": "goodbye"}])
    page = place.client("operator").get(f"/actions/{action.pk}/run/").content.decode()
    assert "Rollback <span>" in page and "previous state restored" in page


def test_the_timeline_says_what_stopped_it_and_how(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True)
    rows = [
        ("risk.spiked", {"why": "checks", "checks": ["shop answers"]}),
        ("action.hold", {"reason": "risk_spike", "stopped": "cancelled_attempt"}),
        ("quarantine.set", {"resources": [{"kind": "file", "name": "app.conf"}], "because": "undo_failed", "count": 1}),
    ]
    for verb, facts in rows:
        record(NewEvent(action.tenant_id, action_subject(action), verb, "system:execute", facts=facts))
    page = place.client("operator").get(f"/actions/{action.pk}/run/").content.decode()
    assert "stopped it on a risk spike: shop answers" in page
    assert "held it: risk spike, after cancelling the attempt that ran" in page
    assert "quarantined file app.conf" in page
