"""Each ending gets exactly one incident, whoever looks and however often."""

import threading

import pytest
from django.db import connection, transaction

from actions.incidents import open
from actions.incidents.worker import has_work, run_slice
from actions.lifecycle.commit import advance
from actions.models import Action, Incident, IncidentRule
from audit.models import Event
from audit.verification.chain import verify_subject_chain
from tests.actions.factory import an_action
from tests.actions.running import verbs_of
from tests.incidents.conftest import MESSAGE, fail, hold, incident_of

pytestmark = pytest.mark.dialect


def test_an_action_that_failed_is_handed_to_whoever_proposed_it(cast):
    action = fail(cast)
    assert has_work()
    incident = incident_of(action)
    assert (incident.ending, incident.code, incident.state, incident.severity) == ("failed", "io", "open", "low")
    assert incident.assignee == cast.operator and incident.due_at > incident.opened_at
    assert MESSAGE in incident.summary and "failed" in incident.summary
    assert verbs_of(action)[:4] == [
        "action.submitted",
        "action.fail",
        "incident.opened",
        "incident.diagnostics_attached",
    ]
    assert incident.ending_seq == Event.objects.get(subject_id=action.pk, verb="action.fail").seq
    assert not has_work()


def test_the_incident_of_an_agents_action_is_its_owners(cast):
    assert incident_of(fail(cast, requester=cast.agent)).assignee == cast.operator


@pytest.mark.parametrize("reason", ["in_doubt", "rollback_failed", "risk_spike", "quarantine"])
def test_an_action_that_is_held_is_handed_over_too(cast, reason):
    incident = incident_of(hold(cast, reason, environment=cast.prod))
    assert (incident.ending, incident.facts["step"]) == (reason, "001:app.conf")
    assert incident.severity == ("high" if reason == "quarantine" else "critical")


def test_no_rule_turns_off_the_incident_of_a_quarantine(cast):
    IncidentRule.objects.create(tenant=cast.acme, endings=["failed"])
    assert incident_of(hold(cast, "quarantine", environment=cast.prod)).ending == "quarantine"


@pytest.mark.parametrize("reason", ["operator", "freeze", "replans", "policy"])
def test_what_a_rule_does_not_name_opens_nothing_and_is_looked_at_once(cast, reason):
    action = hold(cast, reason)
    run_slice()
    assert not Incident.objects.exists()
    assert Action.objects.get(pk=action.pk).incident_seq is None
    assert verbs_of(action) == ["action.submitted", "action.hold"]


def test_a_person_who_ends_an_action_needs_no_incident_that_says_so(cast):
    fail(cast, by=str(cast.operator.pk))
    run_slice()
    assert not Incident.objects.exists()


def test_an_ending_that_was_settled_meanwhile_needs_none(cast):
    action = hold(cast)
    advance([action.pk], "resume", by=str(cast.operator.pk))
    run_slice()
    assert not Incident.objects.exists()


def test_looking_again_and_again_opens_no_second_incident(cast):
    action = fail(cast)
    for _ in range(3):
        open.open_due()
    Action.objects.filter(pk=action.pk).update(incident_seq=None)
    run_slice()
    assert Incident.objects.count() == 1
    assert verbs_of(action).count("incident.opened") == verbs_of(action).count("incident.diagnostics_attached") == 1


def test_a_death_while_it_is_opened_leaves_all_or_nothing(cast, monkeypatch):
    action = fail(cast)
    with monkeypatch.context() as dying:
        dying.setattr(open, "enqueue_webhooks", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            open.open_due()
    assert not Incident.objects.exists() and has_work()
    assert verbs_of(action) == ["action.submitted", "action.fail"]
    open.open_due()  # and now it dies before anything is gathered
    assert Incident.objects.get().evidence == "" and has_work()
    assert incident_of(action).evidence and verbs_of(action).count("incident.opened") == 1


def test_a_simulation_that_fails_wakes_nobody(cast):
    fail(cast, simulated=True)
    run_slice()
    assert not Incident.objects.exists() and not has_work()


def test_an_action_that_is_held_again_gets_a_new_incident_and_keeps_its_assignee(cast):
    action = hold(cast)
    first = incident_of(action)
    Incident.objects.filter(pk=first.pk).update(assignee=cast.approver)
    (action,) = advance([action.pk], "resume", by=str(cast.operator.pk))
    advance([action.pk], "hold", by="system:execute", sets={"held_reason": "rollback_failed"})
    second = incident_of(action)
    first.refresh_from_db()
    assert (first.state, second.state, second.ending) == ("resolved", "open", "rollback_failed")
    assert second.assignee == cast.approver
    assert verify_subject_chain(action.tenant_id, "action", action.pk).ok


@pytest.mark.parametrize("verbs", [("resume", "verify", "complete"), ("roll_back", "finish_rollback")])
def test_a_incident_is_resolved_when_its_action_ends_well_after_all(cast, verbs):
    action = hold(cast)
    incident = incident_of(action)
    for verb in verbs:
        advance([action.pk], verb, by="system:execute")
        assert Incident.objects.get(pk=incident.pk).state == "open"
    run_slice()
    assert Incident.objects.get().state == "resolved"
    assert verbs_of(action)[-1] == "incident.resolved"


def test_a_tenants_rule_says_which_endings_and_whose(cast):
    IncidentRule.objects.create(tenant=cast.acme, endings=["rolled_back"], to="person", person=cast.approver)
    IncidentRule.objects.create(tenant=cast.acme, environment=cast.prod, endings=["failed"], to="role", role="approver")
    fail(cast)
    undone = an_action(cast, "rolling_back", error={"code": "verification_failed", "message": "no", "details": {}})
    advance([undone.pk], "finish_rollback", by="system:execute")
    in_prod = incident_of(fail(cast, environment=cast.prod))
    assert {t.ending for t in Incident.objects.all()} == {"rolled_back", "failed"}
    assert incident_of(undone).assignee == cast.approver
    assert in_prod.assignee is None


def test_a_incident_is_given_to_nobody_who_may_not_look_at_it(cast):
    IncidentRule.objects.create(tenant=cast.acme, endings=["failed"], to="person", person=cast.outsider)
    incident = incident_of(fail(cast))
    assert incident.assignee is None
    assert not incident.deliveries.filter(recipient=cast.outsider.pk).exists()


def test_a_secret_in_an_error_does_not_reach_the_summary(cast):
    action = an_action(cast, "in_progress")
    error = {"code": "io", "message": "password = 'hunter2-hunter2-hunter2'", "details": {}}
    advance([action.pk], "fail", by="system:execute", sets={"error": error})
    assert "hunter2" not in incident_of(action).summary


def test_fifty_endings_cost_no_more_statements_than_one(cast, django_assert_max_num_queries):
    for _ in range(50):
        fail(cast)
    with django_assert_max_num_queries(30):
        assert open.open_due() == 50
    assert Incident.objects.count() == 50


@pytest.mark.django_db(transaction=True)
def test_many_that_look_at_once_open_one_incident_each(committed_cast):
    actions = [fail(committed_cast) for _ in range(6)]
    problems: list[BaseException] = []

    def look() -> None:
        try:
            while open.unanswered_actions().exists():
                open.open_due(2)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    crowd = [threading.Thread(target=look) for _ in range(4)]
    [t.start() for t in crowd]
    [t.join() for t in crowd]
    assert not problems
    assert sorted(Incident.objects.values_list("action", flat=True)) == sorted(a.pk for a in actions)
    assert all(verbs_of(a).count("incident.opened") == 1 for a in actions)
