"""Caps in the admin and over the API: scoped, checked, each change with an event."""

import json

import pytest

from actions.models import ConcurrencyLimit
from audit.models import Event
from tenants.models import Principal

pytestmark = pytest.mark.django_db
CAPS = "/admin/actions/concurrencylimit/"


@pytest.fixture
def client(cast):
    Principal.objects.filter(pk=cast.admin.pk).update(is_staff=True, is_superuser=False)
    return cast.client("admin")


def test_a_tenant_admin_sets_changes_and_removes_a_cap_with_an_event_each(cast, client):
    sent = {"tenant": cast.acme.pk, "environment": cast.prod.pk, "type": "modify_files", "most": 4}
    assert client.post(f"{CAPS}add/", sent).status_code == 302
    cap = ConcurrencyLimit.objects.get()
    assert str(cap) == "4 at once of modify_files in prod"
    assert client.post(f"{CAPS}{cap.pk}/change/", {"most": 2}).status_code == 302
    assert client.post(f"{CAPS}{cap.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not ConcurrencyLimit.objects.exists()
    events = Event.objects.filter(verb__startswith="concurrencylimit.").order_by("id")
    assert [e.verb for e in events] == [
        "concurrencylimit.created",
        "concurrencylimit.changed",
        "concurrencylimit.removed",
    ]
    facts = json.loads(bytes(events[1].body))["facts"]
    assert (facts["before"], facts["after"]) == ({"most": 4}, {"most": 2})


@pytest.mark.parametrize(
    "wrong", [{"most": 0}, {"most": -1}, {"most": ""}, {"type": "no_such_type"}, {"environment": "globex"}]
)
def test_what_caps_nothing_of_ones_own_is_refused(cast, client, wrong):
    if wrong.get("environment"):
        wrong = {"environment": cast.globex_prod.pk}
    sent = {"tenant": cast.acme.pk, "environment": "", "type": "", "most": 1}
    assert client.post(f"{CAPS}add/", {**sent, **wrong}).status_code == 200
    assert not ConcurrencyLimit.objects.exists()


def test_one_cap_on_one_thing(cast, client):
    for environment in ("", cast.dev.pk):
        sent = {"tenant": cast.acme.pk, "environment": environment, "type": "", "most": 3}
        assert client.post(f"{CAPS}add/", sent).status_code == 302
        again = client.post(f"{CAPS}add/", sent)
        assert again.status_code == 200 and "This limit exists already" in again.content.decode()


def test_another_tenants_caps_are_neither_seen_nor_set(cast, client):
    theirs = ConcurrencyLimit.objects.create(tenant=cast.globex, most=7)
    assert client.get(f"{CAPS}{theirs.pk}/change/").status_code == 302
    assert client.post(f"{CAPS}add/", {"tenant": cast.globex.pk, "most": 1, "type": ""}).status_code == 200
    assert client.post(f"{CAPS}{theirs.pk}/delete/", {"post": "yes"}).status_code == 302
    assert ConcurrencyLimit.objects.get() == theirs
    operator = cast.client("operator")
    assert operator.get(CAPS).status_code == 302


def test_the_api_says_how_many_run_of_how_many(cast):
    ConcurrencyLimit.objects.create(tenant=cast.acme, most=9)
    ConcurrencyLimit.objects.create(tenant=cast.acme, environment=cast.prod, type="modify_files", most=4)
    ConcurrencyLimit.objects.create(tenant=cast.globex, most=1)
    items = cast.api("operator").get("/api/concurrency-limits").json()["items"]
    assert sorted(items, key=lambda i: i["most"]) == [
        {"environment": "prod", "type": "modify_files", "most": 4, "running": 0},
        {"environment": None, "type": None, "most": 9, "running": 0},
    ]
