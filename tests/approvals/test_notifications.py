"""Who is told what and when: by real mail and real web hooks, once, and without ever touching a decision."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from approvals.models import GrantSince, MemberSince, Notification, NotificationRule, Request
from approvals.notifications import enqueue, send
from approvals.notifications.send import decrypt_urls, encrypt_urls, send_due, url_fault
from approvals.requests.decisions import decide
from approvals.requests.lifecycle import cancel_open, expire_due, void_open
from approvals.requests.withdraw import request_changes
from audit.database.clock import uuid7
from audit.log import events
from audit.models import Event
from audit.outgoing.webhook import AddressRefused, create_checked_connection, guarded
from tenants.models import Principal
from tests.approvals.scene import DIGEST, Scene, a_request, a_scene, verbs
from tests.support.mailbox import Smtp, running, web_server

pytestmark = pytest.mark.django_db
ONE = [{"role": "approver", "count": 1}]


@pytest.fixture
def people(scene: Scene) -> Scene:
    """Some have an address; the requester holds the role admin too."""
    for name in ("approver", "approver2", "operator", "auditor"):
        person = getattr(scene.people, name)
        Principal.objects.filter(pk=person.pk).update(email=f"{name}@example.test")
    return scene


def later(request: Request, minutes: int) -> None:
    """Move an hour's request back in time, with what is written about it."""
    by = timedelta(minutes=minutes)
    for table in (MemberSince, GrantSince):
        table.objects.update(since=F("since") - by)
    Request.objects.filter(pk=request.pk).update(
        opened_at=F("opened_at") - by, expires_at=F("expires_at") - by, notify_at=F("notify_at") - by
    )


def to() -> list[tuple[str, str]]:
    return sorted((m.to[0].split("@")[0], m.subject.rpartition("” ")[2].split(" ", 3)[-1]) for m in mail.outbox)


def told() -> list[str]:
    return sorted(m.to[0].split("@")[0] for m in mail.outbox)


def test_candidates_are_told_at_the_opening_once(people):
    request = a_request(people)
    send_due(), send_due()
    assert told() == ["approver", "approver2"]
    it = mail.outbox[0]
    assert "awaits your decision" in it.subject and "2 × approver" in it.body and "http://127.0.0.1" in it.body
    assert Notification.objects.filter(state="sent", kind="opened").count() == 2
    assert verbs(request) == [("notification.sent", "ok")]
    assert "example.test" not in str([bytes(e.body) for e in Event.objects.all()])


def test_at_half_time_who_has_not_decided_is_reminded(people):
    request = a_request(people)
    send_due()
    decide(request.pk, people.access("approver"), approved=True, digest=DIGEST, comment="")
    mail.outbox.clear()
    later(request, 31)
    send_due(), send_due()
    assert told() == ["approver2"] and "still awaits" in mail.outbox[0].subject


def test_at_four_fifths_the_admins_hear_of_it(people):
    people.roles["auditor"].name = "admin"
    people.roles["auditor"].save()
    request = a_request(people)
    send_due()
    later(request, 31)
    send_due()
    mail.outbox.clear()
    later(request, 18)
    send_due(), send_due()
    assert told() == ["auditor"] and "about to expire" in mail.outbox[0].subject
    assert Request.objects.get().notify_at is None


def test_nobody_is_reminded_of_what_is_settled(people):
    request = a_request(people, ONE)
    send_due()
    decide(request.pk, people.access("approver"), approved=True, digest=DIGEST, comment="")
    mail.outbox.clear()
    later(request, 31)
    send_due()
    assert told() == ["operator"] and "was approved" in mail.outbox[0].subject


def test_a_notice_that_came_to_nothing_meanwhile_is_not_sent(people, monkeypatch):
    a_request(people, ONE)
    enqueue.enqueue_due()
    Request.objects.update(state="void", closed_at=F("opened_at"))
    send_due()
    assert told() == [] and set(Notification.objects.values_list("state", flat=True)) == {"moot"}


def test_the_requester_hears_who_asks_for_changes(people):
    request = a_request(people)
    request_changes(request.pk, people.access("approver"), comment="rename")
    send_due()
    assert "operator" in told()


def test_a_rule_of_the_tenants_takes_the_built_in_ones_place(people):
    NotificationRule.objects.create(
        tenant=people.tenant, event="opened", to="addresses", addresses=["team@example.test"]
    )
    NotificationRule.objects.create(tenant=people.tenant, environment=people.dev, event="opened", to="nobody")
    a_request(people), a_request(people, environment=people.dev)
    send_due()
    assert told() == ["team"]


def test_a_title_cannot_write_headers(people, monkeypatch):
    evil = "x\r\nBcc: all@example.test"
    monkeypatch.setattr(send, "describe_subject", lambda *a: events.Subject("thing", a[2], evil, "/x/"))
    a_request(people, ONE)
    send_due()
    assert "\n" not in mail.outbox[0].subject and mail.outbox[0].recipients() == ["approver@example.test"]


def test_real_mail_is_tried_again_and_given_up_visibly(people, settings, monkeypatch):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = "127.0.0.1", False, False
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    Principal.objects.filter(username__endswith="approver2").update(email="")
    request = a_request(people, ONE)
    with running(Smtp(refuses=1)) as server:
        settings.EMAIL_PORT = server.server_address[1]
        send_due()
        it = Notification.objects.get()
        assert (it.state, it.attempts) == ("due", 1) and "451" in it.error and server.messages == []
        assert send_due() == 0  # not before its pause is over
        Notification.objects.update(next_at=F("created_at"))
        send_due()
    assert "To: approver@example.test" in server.messages[0]
    assert Notification.objects.get().state == "sent"
    Notification.objects.update(state="due", attempts=send.MAX_ATTEMPTS - 1, next_at=F("created_at"))
    send_due()
    assert Notification.objects.get().state == "failed"
    assert verbs(request)[-1] == ("notification.failed", "failed")
    assert decide(request.pk, people.access("approver"), approved=True, digest=DIGEST, comment="").state == "approved"


@pytest.fixture
def hook(people: Scene) -> Iterator[Any]:
    with running(web_server()) as server:
        rule = NotificationRule(tenant=people.tenant, event="opened", to="urls")
        encrypt_urls(rule, [f"json://user:pw@127.0.0.1:{server.server_address[1]}/hook"])
        rule.save()
        server.rule = rule
        yield server


def test_a_web_hook_is_called_where_private_targets_are_allowed(people, hook):
    people.prod.settings = {"allow_private_targets": True}
    people.prod.save()
    a_request(people)
    send_due()
    path, body = hook.received[0]
    assert path == "/hook" and "awaits your decision" in body["title"] and Notification.objects.get().state == "sent"
    assert b"pw" not in bytes(hook.rule.urls) and decrypt_urls(hook.rule)[0].startswith("json://user:pw@")


def test_a_web_hook_never_reaches_private_addresses_else(people, hook):
    a_request(people)
    send_due()
    assert hook.received == [] and Notification.objects.get().state == "due"


def test_a_redirect_leads_nowhere_it_may_not(people, hook):
    people.prod.settings = {"allow_private_targets": True}
    people.prod.save()
    hook.redirects_to = "http://169.254.169.254/latest/meta-data"
    a_request(people)
    send_due()
    assert len(hook.received) <= 1 and "169" not in json.dumps([r[1] for r in hook.received])


def test_names_are_judged_by_what_they_stand_for():
    with guarded(False), pytest.raises(AddressRefused):
        create_checked_connection(("localhost", 80), 1)
    with guarded(True), pytest.raises(AddressRefused):
        create_checked_connection(("169.254.169.254", 80), 1)


def test_only_services_that_speak_http_may_be_named():
    assert url_fault("jsons://example.com/x") == url_fault("slack://a/b/c") == ""
    for url in ("mailto://a@b", "exec:///bin/sh", "file:///etc/passwd", "syslog://", "json ://x", "javascript:x", ""):
        assert url_fault(url)


@pytest.mark.parametrize(
    ("close", "words"),
    [
        (lambda r: expire_due(10), "expired: not decided in time"),
        (lambda r: void_open([r.subject_id]), "has a new plan: earlier approvals are void"),
        (lambda r: cancel_open([r.subject_id]), "was withdrawn"),
    ],
)
def test_the_requester_hears_of_every_other_end_too(people, close, words):
    request = a_request(people)
    send_due()
    mail.outbox.clear()
    Request.objects.filter(pk=request.pk).update(expires_at=F("opened_at"))
    close(request), close(request)
    send_due(), send_due()
    assert told() == ["operator"] and mail.outbox[0].subject.endswith(words)


def test_what_closes_with_its_transaction_undone_is_told_to_nobody(people):
    request = a_request(people)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        cancel_open([request.subject_id])
        raise ZeroDivisionError
    assert not Notification.objects.exists()


def test_closing_tells_by_the_tenants_rules_and_never_across_tenants(people):
    other = a_scene("globex")
    Principal.objects.filter(pk=other.people.operator.pk).update(email="operator@globex.test")
    Principal.objects.filter(pk=people.people.security.pk).update(email="security@example.test")
    NotificationRule.objects.create(
        tenant=people.tenant, event="closed", to="addresses", addresses=["team@example.test"]
    )
    NotificationRule.objects.create(tenant=people.tenant, event="closed", to="role", role="security")
    NotificationRule.objects.create(tenant=people.tenant, environment=people.dev, event="closed", to="nobody")
    made = [a_request(people), a_request(people, environment=people.dev), a_request(other)]
    made.append(a_request(people, [], kind="acceptance"))
    cancel_open([request.subject_id for request in made])
    found = sorted(Notification.objects.values_list("request", "recipient"))
    assert found == sorted(
        [
            (made[0].pk, "team@example.test"),
            (made[0].pk, str(people.people.security.pk)),
            (made[2].pk, str(other.people.operator.pk)),
        ]
    )


def test_closing_many_costs_what_closing_one_costs_and_closing_none_nothing(people, django_assert_num_queries):
    with django_assert_num_queries(2):
        assert cancel_open([uuid7()]) == [] and expire_due(10) == []
    made = [a_request(people) for _ in range(30)]
    costs = []
    for some in (made[:1], made[1:]):
        with CaptureQueriesContext(connection) as spent:
            cancel_open([request.subject_id for request in some])
        costs.append(len(spent))
    assert costs[0] == costs[1] <= 7 and Notification.objects.filter(kind="closed").count() == 30
