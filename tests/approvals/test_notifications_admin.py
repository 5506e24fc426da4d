"""Notify rules and bulk deciding in the admin: scoped, checked, with events that hold no address."""

import json

import pytest

from approvals.models import ApprovalSettings, NotificationRule
from approvals.notifications.send import decrypt_urls
from audit.models import Event
from tenants.models import Principal
from tests.cast import Cast

pytestmark = pytest.mark.django_db
RULES, SETTINGS = "/admin/approvals/notificationrule/", "/admin/approvals/approvalsettings/"


@pytest.fixture
def client(cast: Cast):
    Principal.objects.filter(pk=cast.admin.pk).update(is_staff=True, is_superuser=False)
    return cast.client("admin")


def test_services_are_kept_encrypted_and_never_shown(cast, client):
    sent = {
        "tenant": cast.acme.pk,
        "event": "opened",
        "to": "urls",
        "services": "jsons://u:hunter2@hooks.example.com/x",
    }
    assert client.post(f"{RULES}add/", sent).status_code == 302
    rule = NotificationRule.objects.get()
    assert decrypt_urls(rule) == [sent["services"]] and b"hunter2" not in bytes(rule.urls)
    assert "hunter2" not in client.get(f"{RULES}{rule.pk}/change/").content.decode()
    assert client.post(f"{RULES}{rule.pk}/change/", {**sent, "services": "", "after_s": "60"}).status_code == 302
    rule.refresh_from_db()
    assert rule.after_s == 60 and decrypt_urls(rule) == [sent["services"]]
    assert [e.verb for e in Event.objects.filter(verb__startswith="notificationrule.").order_by("id")] == [
        "notificationrule.created",
        "notificationrule.changed",
    ]
    assert not any(b"hunter2" in bytes(e.body) for e in Event.objects.all())


def test_addresses_enter_events_as_commitments(cast, client):
    sent = {"tenant": cast.acme.pk, "event": "opened", "to": "addresses", "addresses": "a@example.test\nb@example.test"}
    assert client.post(f"{RULES}add/", sent).status_code == 302
    assert NotificationRule.objects.get().addresses == ["a@example.test", "b@example.test"]
    assert not any(b"example.test" in bytes(e.body) for e in Event.objects.filter(verb="notificationrule.created"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "urls"},
        {"to": "urls", "services": "exec:///bin/sh"},
        {"to": "role"},
        {"to": "addresses"},
        {"to": "addresses", "addresses": "nobody"},
    ],
)
def test_what_cannot_be_told_is_refused_at_once(cast, client, wrong):
    assert client.post(f"{RULES}add/", {"tenant": cast.acme.pk, "event": "opened", **wrong}).status_code == 200
    assert not NotificationRule.objects.exists()


def test_another_tenants_environment_is_no_choice(cast, client):
    sent = {"tenant": cast.acme.pk, "environment": cast.globex_prod.pk, "event": "opened", "to": "nobody"}
    assert client.post(f"{RULES}add/", sent).status_code == 200
    assert client.post(f"{RULES}add/", {**sent, "tenant": cast.globex.pk}).status_code == 200
    assert not NotificationRule.objects.exists()


def test_the_tier_for_bulk_deciding_is_set_with_an_event(cast, client):
    assert client.post(f"{SETTINGS}add/", {"tenant": cast.acme.pk, "bulk_below": "high"}).status_code == 302
    assert ApprovalSettings.objects.get().bulk_below == "high"
    sent = {"bulk_below": "medium"}
    assert client.post(f"{SETTINGS}{cast.acme.pk}/change/", sent).status_code == 302
    event = Event.objects.get(verb="approvalsettings.changed")
    facts = json.loads(bytes(event.body))["facts"]
    assert (facts["before"], facts["after"]) == ({"bulk_below": "high"}, {"bulk_below": "medium"})
    assert client.post(f"{SETTINGS}add/", {"tenant": cast.globex.pk, "bulk_below": "high"}).status_code == 200
    assert ApprovalSettings.objects.count() == 1
