"""What is gathered when something fails: one document, bounded, masked, named by an event, and never in the way."""

import hashlib
import json

import pytest

from actions.incidents import diagnostics
from actions.incidents.next_steps import next_steps
from actions.models import Incident, JournalEntry, Plan, Quarantine
from actions.types.collect_diagnostics import executor
from audit.evidence.pack import build_pack
from audit.log.artifacts import read_artifact
from audit.log.events import Subject
from audit.models import Event
from tests.actions.factory import an_action
from tests.incidents.conftest import fail, hold, host_facts, incident_of

pytestmark = pytest.mark.django_db
SECRET = "password = 'hunter2-hunter2-hunter2'"


def with_steps(action, n: int = 2):
    """Give an action a plan of n steps of which the last failed, with a secret in its log."""
    steps = [
        {"key": f"{k:03d}:x", "title": f"Step {k}", "target": "x", "compensation": {"kind": "reversible"}}
        for k in range(1, n + 1)
    ]
    plan = Plan.objects.create(
        action=action, version=1, digest="d" * 64, document="", changes="", summary="", steps=steps
    )
    type(action).objects.filter(pk=action.pk).update(plan=plan, steps_total=n)
    for k in range(1, n + 1):
        kind = "failure" if k == n else "receipt"
        facts = {"code": "io", "message": SECRET} if k == n else {}
        JournalEntry.objects.create(
            action=action,
            plan=plan,
            step=f"{k:03d}:x",
            attempt=1,
            kind=kind,
            lease=1,
            at=action.created_at,
            facts=facts,
            log=f"line {k}\n{SECRET}",
        )
    return action


def document(incident: Incident) -> dict:
    return json.loads(read_artifact(incident.tenant_id, incident.evidence))


def test_it_holds_steps_events_the_logs_tail_and_next_steps(cast):
    incident = incident_of(with_steps(fail(cast)))
    found = document(incident)
    assert found["format"] == "interlock.diagnostics/1" and found["incident"]["id"] == str(incident.pk)
    assert found["steps"]["counts"] == {"done": 1, "failed": 1}
    assert [e["verb"] for e in found["events"]] == ["action.submitted", "action.fail", "incident.opened"]
    assert found["log_tail"][0] == "001:x #1: line 1"
    assert found["next_steps"][0]["key"] == "diagnose"
    assert "hunter2" not in json.dumps(found) and "⟦secret:" in found["log_tail"][1]


def test_an_event_names_it_so_it_is_in_the_evidence_pack(cast):
    incident = incident_of(fail(cast))
    event = Event.objects.get(subject_id=incident.action_id, verb="incident.diagnostics_attached")
    assert json.loads(bytes(event.body))["artifacts"] == [incident.evidence]
    pack = b"".join(build_pack(incident.tenant_id, Subject("action", incident.action_id)))
    assert f"artifacts/{incident.evidence}.json".encode() in pack
    assert hashlib.sha256(read_artifact(incident.tenant_id, incident.evidence)).hexdigest() == incident.evidence


def test_thousands_of_steps_are_counted_and_a_few_named(cast):
    found = document(incident_of(with_steps(fail(cast), 300)))
    assert found["steps"]["counts"] == {"done": 299, "failed": 1}
    assert [s["state"] for s in found["steps"]["named"]] == ["failed"]
    assert len(found["log_tail"]) == 2 * diagnostics.LINES_OF


def test_what_goes_wrong_while_gathering_is_told_and_stops_nothing(cast, monkeypatch):
    monkeypatch.setattr(diagnostics, "collect_diagnostics", lambda incident: 1 / 0)
    incident = incident_of(fail(cast))
    assert "ZeroDivisionError" in document(incident)["problem"]
    assert incident.deliveries.filter(state="sent").count() == 1


def test_two_that_gather_keep_one_result(cast):
    incident = incident_of(fail(cast))
    diagnostics._attach(incident, b'{"late": true}')
    assert Event.objects.filter(verb="incident.diagnostics_attached").count() == 1
    assert Incident.objects.get().evidence == incident.evidence


def test_the_machine_is_read_and_a_section_that_hangs_or_breaks_says_so(cast, monkeypatch):
    from actions.lifecycle.context import target_of

    target = target_of(an_action(cast))
    found = host_facts(target, patience_s=20)["sections"]
    assert found["disk"]["used_percent"] <= 100 and found["files"]["counts"]["files"] == 0
    assert found["processes"]["scope"] == "environment"
    monkeypatch.setitem(executor.SECTIONS, "disk", ("", lambda ctx: 1 / 0))
    monkeypatch.setitem(executor.SECTIONS, "load", ("", lambda ctx: __import__("time").sleep(1)))
    found = host_facts(target, patience_s=0.2)["sections"]
    assert "ZeroDivisionError" in found["disk"]["problem"]
    assert found["load"] == {"problem": "not read in time"}


@pytest.mark.parametrize(
    ("reason", "keys"),
    [
        ("in_doubt", ["look", "settle", "give_up"]),
        ("rollback_failed", ["look", "try_undo", "give_up", "quarantine"]),
        ("risk_spike", ["look", "roll_back", "go_on"]),
        ("internal_error", ["ask_admin", "go_on", "roll_back"]),
        ("quarantine", ["look", "go_on", "roll_back", "give_up"]),
    ],
)
def test_each_ending_has_its_own_next_steps(cast, reason, keys):
    action = hold(cast, reason)
    incident = incident_of(action)
    shut = ["file app.conf"] if "quarantine" in keys else []
    steps = next_steps(incident, action, "dev", ["resume"], shut)
    assert [s.key for s in steps] == keys
    assert all(s.why and "{" not in s.why + s.href for s in steps)
    assert {s.key for s in steps if not s.usable} <= {"roll_back"}


def test_what_is_in_quarantine_because_of_it_is_to_be_cleared(cast):
    action = fail(cast)
    incident = incident_of(action)
    Quarantine.objects.create(
        tenant=cast.acme, environment=cast.dev, key="k", kind="file", name="app.conf", action=action, because="in_doubt"
    )
    shown = cast.client("operator").get(f"/incidents/{incident.pk}/").content.decode()
    assert "No action may touch file app.conf" in shown and 'href="/quarantine/"' in shown


def test_words_of_a_target_are_never_a_template(cast):
    action = hold(cast)
    incident = incident_of(action)
    incident.facts["step"] = "{admin.__class__} {0}"
    assert "{admin.__class__} {0}" in next_steps(incident, action, "dev")[0].why
