"""A named person gets it, acknowledges or declines, and resolves it; each with an event and a time."""

from datetime import timedelta

import pytest
from django.core import mail
from django.db.models import F

from actions.errors import NotAllowed
from actions.handoff import verbs
from actions.handoff.gathering import gather_due
from actions.handoff.opening import open_due
from actions.handoff.work import carry_on
from actions.models import Delivery, HandoffRule, Ticket
from audit.errors import Conflict, Forbidden, Invalid, NotFound
from audit.models import Event, PrivateValue
from tests.actions.running import verbs_of
from tests.handoff.conftest import fail, hold, ticket_of


@pytest.fixture
def ticket(cast) -> Ticket:
    return ticket_of(fail(cast))


def last(ticket: Ticket, verb: str) -> Event:
    return Event.objects.filter(subject_id=ticket.action_id, verb=verb).latest("seq")


def test_its_assignee_is_told_and_acknowledges_it(cast, ticket):
    assert [m.to for m in mail.outbox] == [["operator@example.test"]]
    assert f"/handoff/{ticket.pk}/" in mail.outbox[0].body and "Please acknowledge it by" in mail.outbox[0].body
    done = verbs.acknowledge(cast.access("operator"), ticket.pk, "On it")
    assert (done.state, done.assignee) == ("acknowledged", cast.operator) and done.acknowledged_at
    event = last(ticket, "ticket.acknowledged")
    assert event.actor == str(cast.operator.pk)
    assert bytes(PrivateValue.objects.get(subject_id=ticket.action_id, seq=event.seq).value) == b"On it"
    assert b"On it" not in bytes(event.body)
    with pytest.raises(Conflict):
        verbs.acknowledge(cast.access("operator"), ticket.pk)


def test_an_operator_hands_it_to_somebody_who_is_told(cast, ticket):
    mail.outbox.clear()
    done = verbs.assign(cast.access("operator"), ticket.pk, "approver", "You know this host")
    assert (done.assignee, done.state, done.escalated_at) == (cast.approver, "open", None)
    carry_on()
    assert [m.to for m in mail.outbox] == [["approver@example.test"]]
    assert verbs.acknowledge(cast.access("approver"), ticket.pk).assignee == cast.approver


@pytest.mark.parametrize("to", ["outsider", "agent", "nobody", "", "00000000-0000-0000-0000-000000000000"])
def test_only_people_who_may_look_at_it_get_it(cast, ticket, to):
    with pytest.raises(Invalid):
        verbs.assign(cast.access("operator"), ticket.pk, to)


def test_who_declines_says_why_and_the_admins_are_told_at_once(cast, ticket):
    cast.admin.email = "admin@example.test"
    cast.admin.save()
    mail.outbox.clear()
    with pytest.raises(Invalid):
        verbs.decline(cast.access("operator"), ticket.pk, "  ")
    done = verbs.decline(cast.access("operator"), ticket.pk, "On leave from today")
    assert (done.assignee, done.state) == (None, "open")
    carry_on()
    assert [m.to for m in mail.outbox] == [["admin@example.test"]]
    assert Ticket.objects.get().escalated_at
    assert verbs.acknowledge(cast.access("operator"), ticket.pk).assignee == cast.operator, "nobody had it"


def test_a_ticket_that_nobody_acknowledges_is_told_on_once(cast, ticket):
    HandoffRule.objects.create(tenant=cast.acme, endings=["failed"], escalate_to="security")
    mail.outbox.clear()
    carry_on()
    assert not mail.outbox, "its time is not up"
    Ticket.objects.update(due_at=F("opened_at") - timedelta(seconds=1))
    for _ in range(3):
        carry_on()
    assert [m.to for m in mail.outbox] == [["security@example.test"]]
    assert verbs_of(ticket.action).count("ticket.overdue") == 1


def test_the_roles_that_a_rule_calls_take_it_or_hand_it_on(cast):
    HandoffRule.objects.create(tenant=cast.acme, endings=["failed"], to="role", role="approver", escalate_to="security")
    ticket = ticket_of(fail(cast))
    assert sorted(m.to[0] for m in mail.outbox) == ["approver2@example.test", "approver@example.test"]
    for who, may in (("approver", True), ("security", True), ("auditor", False), ("admin", False)):
        assert ("acknowledge" in verbs.allowed(cast.access(who), ticket)) is may, who
    assert verbs.acknowledge(cast.access("approver2"), ticket.pk).assignee == cast.approver2
    assert "acknowledge" not in verbs.allowed(cast.access("approver"), Ticket.objects.get())
    assert verbs.assign(cast.access("security"), ticket.pk, "operator").assignee == cast.operator


def test_its_assignee_or_an_operator_resolves_it(cast, ticket):
    verbs.assign(cast.access("operator"), ticket.pk, "approver")
    with pytest.raises(NotAllowed):
        verbs.resolve(cast.access("approver2"), ticket.pk)
    done = verbs.resolve(cast.access("approver"), ticket.pk, "Freed the disk")
    assert done.state == "resolved" and done.resolved_at
    for verb in ("acknowledge", "resolve"):
        with pytest.raises(Conflict):
            getattr(verbs, verb)(cast.access("operator"), ticket.pk)
    assert verbs.allowed(cast.access("operator"), done) == ["comment"]


@pytest.mark.parametrize("who", ["approver", "auditor", "agent"])
def test_who_merely_looks_on_may_only_talk(cast, ticket, who):
    assert set(verbs.allowed(cast.access(who), ticket)) <= {"comment", "assign"}
    for verb in ("acknowledge", "resolve"):
        with pytest.raises(NotAllowed):
            getattr(verbs, verb)(cast.access(who), ticket.pk)
    if who == "auditor":
        with pytest.raises(Forbidden):
            verbs.comment(cast.access(who), ticket.pk, "Hm.")
        return
    said = verbs.comment(cast.access(who), ticket.pk, "The disk filled up at noon.")
    assert said.subject_id == ticket.action_id


def test_another_tenants_ticket_is_not_there(cast, ticket):
    for verb, more in (("assign", ("outsider",)), ("acknowledge", ()), ("decline", ("because",)), ("resolve", ())):
        with pytest.raises(NotFound):
            getattr(verbs, verb)(cast.access("outsider"), ticket.pk, *more)
    assert not verbs.tickets_of(cast.access("outsider")).exists()


def test_a_mail_to_somebody_who_lost_their_role_is_not_sent(cast):
    action = hold(cast)
    HandoffRule.objects.create(tenant=cast.acme, endings=["in_doubt"], to="person", person=cast.approver)
    mail.outbox.clear()
    open_due(), gather_due()
    cast.approver.groups.clear()
    ticket = ticket_of(action)
    assert not mail.outbox
    assert Delivery.objects.get(ticket=ticket).state == "failed"
    assert verbs_of(action)[-1] == "ticket.not_told"
