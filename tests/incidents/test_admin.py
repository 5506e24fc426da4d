"""Who administers a tenant says what is handed over to whom, and where it is sent; within their own tenant."""

import json

import pytest

from actions.incidents import messages
from actions.models import IncidentRule, Webhook
from audit.models import Event
from tests.tenants.test_admin import boss, site

__all__ = ["boss", "site"]
RULE, HOOK = "/admin/actions/incidentrule/", "/admin/actions/webhook/"
SECRET = "a-secret-of-enough-characters"


def rule(cast, **fields):
    usual = {
        "tenant": cast.acme.pk,
        "environment": "",
        "endings": ["failed"],
        "to": "requester",
        "person": "",
        "role": "",
        "acknowledge_within_s": "600",
        "escalate_to": "admin",
    }
    return {**usual, **fields}


def hook(cast, **fields):
    usual = {
        "tenant": cast.acme.pk,
        "environment": "",
        "name": "ours",
        "kind": "generic",
        "enabled": "on",
        "url": "https://hooks.example/x",
        "secret": SECRET,
        "token": "",
    }
    return {**usual, **fields}


def test_a_rule_is_kept_with_an_event(cast, site):
    assert site.post(f"{RULE}add/", rule(cast, to="person", person=cast.approver.pk)).status_code == 302
    kept = IncidentRule.objects.get()
    assert (kept.person, kept.endings, kept.acknowledge_within_s) == (cast.approver, ["failed"], 600)
    assert Event.objects.filter(verb="incidentrule.created", tenant=cast.acme.pk).exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "person"},
        {"to": "role"},
        {"to": "role", "role": "no such"},
        {"escalate_to": "no such"},
        {"endings": ["exploded"]},
    ],
)
def test_a_rule_that_cannot_work_is_refused(cast, site, wrong):
    assert site.post(f"{RULE}add/", rule(cast, **wrong)).status_code == 200
    assert not IncidentRule.objects.exists()


def test_no_rule_reaches_into_another_tenant(cast, site):
    for wrong in (
        {"tenant": cast.globex.pk},
        {"environment": cast.globex_prod.pk},
        {"to": "person", "person": cast.outsider.pk},
        {"to": "person", "person": cast.agent.pk},
    ):
        assert site.post(f"{RULE}add/", rule(cast, **wrong)).status_code == 200
    assert not IncidentRule.objects.exists()


def test_a_webhooks_secrets_are_hidden_and_never_shown_again(cast, site):
    assert site.post(f"{HOOK}add/", hook(cast)).status_code == 302
    kept = Webhook.objects.get()
    page = site.get(f"{HOOK}{kept.pk}/change/").content.decode()
    assert SECRET not in page and "hooks.example/x" not in page and "hooks.example" in page
    same = hook(cast, url="", secret="", token="", name="theirs")
    assert site.post(f"{HOOK}{kept.pk}/change/", same).status_code == 302
    kept.refresh_from_db()
    assert (kept.name, messages.decrypt_secrets(kept)["url"]) == ("theirs", "https://hooks.example/x")
    assert site.post(f"{HOOK}{kept.pk}/change/", {**same, "secret": SECRET + "2"}).status_code == 302
    kept.refresh_from_db()
    assert messages.decrypt_secrets(kept) == {"url": "https://hooks.example/x", "secret": SECRET + "2", "token": ""}
    events = list(Event.objects.filter(verb__startswith="webhook.").order_by("seq").values_list("verb", "body"))
    assert [verb for verb, _ in events] == ["webhook.created", "webhook.changed", "webhook.changed"]
    assert not any(SECRET in bytes(body).decode() or "hooks.example/x" in bytes(body).decode() for _, body in events)
    assert json.loads(bytes(events[2][1]))["facts"]["after"].keys() == {"hidden"}


@pytest.mark.parametrize("wrong", [{"url": ""}, {"url": "gopher://x/"}, {"secret": "short"}, {"kind": "github_issue"}])
def test_a_webhook_that_cannot_work_is_refused(cast, site, wrong):
    assert site.post(f"{HOOK}add/", hook(cast, **wrong)).status_code == 200
    assert not Webhook.objects.exists()
