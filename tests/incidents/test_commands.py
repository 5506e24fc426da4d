"""A named person gets it, acknowledges or declines, and resolves it; each with an event and a time."""

from datetime import timedelta

import pytest
from django.core import mail
from django.db.models import F

from actions.commands import incidents
from actions.errors import NotAllowed
from actions.incidents.diagnostics import attach_due
from actions.incidents.open import open_due
from actions.incidents.worker import run_slice
from actions.models import Delivery, Incident, IncidentRule
from audit.errors import Conflict, Forbidden, Invalid, NotFound
from audit.models import Event, PrivateValue
from tests.actions.running import verbs_of
from tests.incidents.conftest import fail, hold, incident_of


@pytest.fixture
def incident(cast) -> Incident:
    return incident_of(fail(cast))


def last(incident: Incident, verb: str) -> Event:
    return Event.objects.filter(subject_id=incident.action_id, verb=verb).latest("seq")


def test_its_assignee_is_told_and_acknowledges_it(cast, incident):
    assert [m.to for m in mail.outbox] == [["operator@example.test"]]
    assert f"/incidents/{incident.pk}/" in mail.outbox[0].body and "Please acknowledge it by" in mail.outbox[0].body
    done = incidents.acknowledge(cast.access("operator"), incident.pk, "On it")
    assert (done.state, done.assignee) == ("acknowledged", cast.operator) and done.acknowledged_at
    event = last(incident, "incident.acknowledged")
    assert event.actor == str(cast.operator.pk)
    assert bytes(PrivateValue.objects.get(subject_id=incident.action_id, seq=event.seq).value) == b"On it"
    assert b"On it" not in bytes(event.body)
    with pytest.raises(Conflict):
        incidents.acknowledge(cast.access("operator"), incident.pk)


def test_an_operator_hands_it_to_somebody_who_is_told(cast, incident):
    mail.outbox.clear()
    done = incidents.assign(cast.access("operator"), incident.pk, "approver", "You know this host")
    assert (done.assignee, done.state, done.escalated_at) == (cast.approver, "open", None)
    run_slice()
    assert [m.to for m in mail.outbox] == [["approver@example.test"]]
    assert incidents.acknowledge(cast.access("approver"), incident.pk).assignee == cast.approver


@pytest.mark.parametrize("to", ["outsider", "agent", "nobody", "", "00000000-0000-0000-0000-000000000000"])
def test_only_people_who_may_look_at_it_get_it(cast, incident, to):
    with pytest.raises(Invalid):
        incidents.assign(cast.access("operator"), incident.pk, to)


def test_who_declines_says_why_and_the_admins_are_told_at_once(cast, incident):
    cast.admin.email = "admin@example.test"
    cast.admin.save()
    mail.outbox.clear()
    with pytest.raises(Invalid):
        incidents.decline(cast.access("operator"), incident.pk, "  ")
    done = incidents.decline(cast.access("operator"), incident.pk, "On leave from today")
    assert (done.assignee, done.state) == (None, "open")
    run_slice()
    assert [m.to for m in mail.outbox] == [["admin@example.test"]]
    assert Incident.objects.get().escalated_at
    assert incidents.acknowledge(cast.access("operator"), incident.pk).assignee == cast.operator, "nobody had it"


def test_a_incident_that_nobody_acknowledges_is_told_on_once(cast, incident):
    IncidentRule.objects.create(tenant=cast.acme, endings=["failed"], escalate_to="security")
    mail.outbox.clear()
    run_slice()
    assert not mail.outbox, "its time is not up"
    Incident.objects.update(due_at=F("opened_at") - timedelta(seconds=1))
    for _ in range(3):
        run_slice()
    assert [m.to for m in mail.outbox] == [["security@example.test"]]
    assert verbs_of(incident.action).count("incident.escalated") == 1


def test_the_roles_that_a_rule_calls_take_it_or_hand_it_on(cast):
    IncidentRule.objects.create(
        tenant=cast.acme, endings=["failed"], to="role", role="approver", escalate_to="security"
    )
    incident = incident_of(fail(cast))
    assert sorted(m.to[0] for m in mail.outbox) == ["approver2@example.test", "approver@example.test"]
    for who, may in (("approver", True), ("security", True), ("auditor", False), ("admin", False)):
        assert ("acknowledge" in incidents.allowed_incident_verbs(cast.access(who), incident)) is may, who
    assert incidents.acknowledge(cast.access("approver2"), incident.pk).assignee == cast.approver2
    assert "acknowledge" not in incidents.allowed_incident_verbs(cast.access("approver"), Incident.objects.get())
    assert incidents.assign(cast.access("security"), incident.pk, "operator").assignee == cast.operator


def test_its_assignee_or_an_operator_resolves_it(cast, incident):
    incidents.assign(cast.access("operator"), incident.pk, "approver")
    with pytest.raises(NotAllowed):
        incidents.resolve(cast.access("approver2"), incident.pk)
    done = incidents.resolve(cast.access("approver"), incident.pk, "Freed the disk")
    assert done.state == "resolved" and done.resolved_at
    for verb in ("acknowledge", "resolve"):
        with pytest.raises(Conflict):
            getattr(incidents, verb)(cast.access("operator"), incident.pk)
    assert incidents.allowed_incident_verbs(cast.access("operator"), done) == ["comment"]


@pytest.mark.parametrize("who", ["approver", "auditor", "agent"])
def test_who_merely_looks_on_may_only_talk(cast, incident, who):
    assert set(incidents.allowed_incident_verbs(cast.access(who), incident)) <= {"comment", "assign"}
    for verb in ("acknowledge", "resolve"):
        with pytest.raises(NotAllowed):
            getattr(incidents, verb)(cast.access(who), incident.pk)
    if who == "auditor":
        with pytest.raises(Forbidden):
            incidents.comment(cast.access(who), incident.pk, "Hm.")
        return
    said = incidents.comment(cast.access(who), incident.pk, "The disk filled up at noon.")
    assert said.subject_id == incident.action_id


def test_another_tenants_incident_is_not_there(cast, incident):
    for verb, more in (("assign", ("outsider",)), ("acknowledge", ()), ("decline", ("because",)), ("resolve", ())):
        with pytest.raises(NotFound):
            getattr(incidents, verb)(cast.access("outsider"), incident.pk, *more)
    assert not incidents.visible_incidents(cast.access("outsider")).exists()


def test_a_mail_to_somebody_who_lost_their_role_is_not_sent(cast):
    action = hold(cast)
    IncidentRule.objects.create(tenant=cast.acme, endings=["in_doubt"], to="person", person=cast.approver)
    mail.outbox.clear()
    open_due(), attach_due()
    cast.approver.groups.clear()
    incident = incident_of(action)
    assert not mail.outbox
    assert Delivery.objects.get(incident=incident).state == "failed"
    assert verbs_of(action)[-1] == "incident.notification_failed"
