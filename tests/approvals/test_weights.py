"""The weights of the blast radius: changed with a reason and a trace, by who administers the tenant."""

import json

import pytest
from django.urls import reverse

from approvals.blast.factors import FACTORS
from approvals.models import BlastWeights
from approvals.policies.active_policies import epoch_of
from approvals.policies.weights import current_weights, set_weights, weights_for
from audit.errors import Invalid, NotFound
from audit.models import Event, PrivateValue
from tenants.roles import add_member

URL = "/api/blast/weights"
CHANGE = {"weights": {"deletions": 150, "working_hours": 0}, "reason": "Deletes hurt us twice this year."}


def put(api, body=CHANGE):
    return api.put(URL, json.dumps(body), content_type="application/json")


def events() -> list[dict]:
    rows = Event.objects.filter(subject_kind="blast_weights").order_by("id")
    return [json.loads(bytes(row.body)) for row in rows]


def test_a_change_is_in_force_at_once_and_leaves_before_after_and_why(cast):
    before = epoch_of(cast.acme.pk)
    response = put(cast.api("admin"))
    assert response.status_code == 200
    assert response.json()["weights"] == dict.fromkeys(FACTORS, 100) | CHANGE["weights"]
    assert weights_for([cast.acme.pk]) == {cast.acme.pk: CHANGE["weights"]}
    (event,) = events()
    assert (event["verb"], event["actor"]) == ("blast_weights.changed", str(cast.admin.pk))
    assert (event["facts"]["before"]["deletions"], event["facts"]["after"]["deletions"]) == (100, 150)
    assert event["facts"]["lowered"] == ["working_hours"]
    assert (
        CHANGE["reason"] not in json.dumps(event)
        and PrivateValue.objects.filter(value=CHANGE["reason"].encode()).exists()
    )
    assert epoch_of(cast.acme.pk) == before + 1
    assert current_weights(cast.globex.pk) == dict.fromkeys(FACTORS, 100)


def test_what_changes_nothing_leaves_nothing(cast):
    before = epoch_of(cast.acme.pk)
    assert put(cast.api("admin"), {"weights": {"deletions": 100}, "reason": "As it is."}).status_code == 200
    assert events() == [] and epoch_of(cast.acme.pk) == before and not BlastWeights.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"weights": {"deletions": 301}, "reason": "x"},
        {"weights": {"deletions": -1}, "reason": "x"},
        {"weights": {"deletions": True}, "reason": "x"},
        {"weights": {"deletions": "90"}, "reason": "x"},
        {"weights": {"moon": 100}, "reason": "x"},
        {"weights": {"deletions": 90}, "reason": "  "},
        {"weights": {"deletions": 90}, "reason": "x" * 501},
        {"weights": {"deletions": 90}},
        {"reason": "x"},
        {"weights": {"deletions": 90}, "reason": "x", "more": 1},
    ],
)
def test_what_does_not_read_is_refused_and_changes_nothing(cast, body):
    response = put(cast.api("admin"), body)
    assert response.status_code == 422 and response.json()["issues"]
    assert events() == [] and not BlastWeights.objects.exists()


@pytest.mark.parametrize("who", ["operator", "approver", "security", "auditor", "agent"])
def test_who_does_not_administer_the_tenant_reads_and_does_not_write(cast, who):
    assert cast.api(who).get(URL).status_code == 200
    assert put(cast.api(who)).status_code == 403
    assert events() == [] and current_weights(cast.acme.pk)["deletions"] == 100


def test_another_tenants_weights_are_out_of_reach(cast):
    put(cast.api("admin"))
    assert set(cast.api("outsider").get(URL).json()["weights"].values()) == {100}
    with pytest.raises(NotFound):
        set_weights(cast.globex, {"deletions": 0}, "Because.", by=cast.access("admin"))
    assert len(events()) == 1


def test_the_database_refuses_more_than_three_times_the_usual(cast):
    with pytest.raises(Exception, match="approvals_weights_at_most_300|CHECK"):
        BlastWeights.objects.create(tenant=cast.acme, deletions=301)


def test_a_reason_is_asked_of_the_product_itself_too(cast):
    with pytest.raises(Invalid):
        set_weights(cast.acme, {"deletions": 90}, "", by="system:setup")


ADD = "admin:approvals_blastweights_add"


@pytest.fixture
def boss(cast):
    """A tenant's admin, who is no superuser."""
    cast.operator.is_staff = True
    cast.operator.save()
    add_member(cast.operator, cast.roles["admin"])
    return cast.client("operator")


def form(cast, **more) -> dict[str, str]:
    return {"tenant": str(cast.acme.pk), **dict.fromkeys(FACTORS, "100"), "reason": "Because.", **more}


def test_the_admin_changes_weights_with_the_same_trace(cast, boss):
    assert boss.post(reverse(ADD), form(cast, deletions="200"), follow=True).status_code == 200
    page = reverse("admin:approvals_blastweights_change", args=[cast.acme.pk])
    assert "deletions 200 %" in boss.get(reverse("admin:approvals_blastweights_changelist")).content.decode()
    assert boss.post(page, form(cast, deletions="50"), follow=True).status_code == 200
    assert current_weights(cast.acme.pk)["deletions"] == 50
    assert [(e["facts"]["before"]["deletions"], e["facts"]["after"]["deletions"]) for e in events()] == [
        (100, 200),
        (200, 50),
    ]
    assert {e["actor"] for e in events()} == {str(cast.operator.pk)}


def test_the_admin_asks_why_and_says_what_is_too_much(cast, boss):
    refused = boss.post(reverse(ADD), form(cast, reason="", deletions="400")).content.decode()
    assert "At most 300 per cent." in refused and "This field is required." in refused
    assert events() == [] and not BlastWeights.objects.exists()


def test_the_admin_offers_no_other_tenant_and_deletes_nothing(cast, boss):
    BlastWeights.objects.create(tenant=cast.globex)
    assert "Globex" not in boss.get(reverse("admin:approvals_blastweights_changelist")).content.decode()
    assert boss.post(reverse(ADD), form(cast, tenant=str(cast.globex.pk))).status_code == 200
    foreign = boss.get(reverse("admin:approvals_blastweights_change", args=[cast.globex.pk]))
    assert foreign.status_code == 302 and events() == []
    BlastWeights.objects.create(tenant=cast.acme)
    gone = boss.post(reverse("admin:approvals_blastweights_delete", args=[cast.acme.pk]), {"post": "yes"})
    assert gone.status_code == 403 and BlastWeights.objects.count() == 2
