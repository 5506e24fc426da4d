"""Verify in the background: asked for on the page or over HTTP, carried on in slices, shown with progress."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.database.clock import uuid7
from audit.log.events import NewEvent, Subject, record
from audit.models import Event
from audit.models.seals import HeadTarget, Tree, Verification
from audit.seals.sealer import seal_all
from audit.seals.tree import newest_head
from audit.verification import jobs
from tests.audit.seals.tampering import harmed

PAGE, API = "/audit/verification/", "/api/audit-logs"


@pytest.fixture
def subject(cast):
    found = Subject("deed", uuid7())
    for n in range(5):
        record(NewEvent(cast.acme.pk, found, "deed.done", str(cast.operator.pk), facts={"n": n}))
        seal_all()
    seal_all()
    return found


def finish():
    while jobs.run_slice():
        pass


def test_it_is_asked_for_carried_on_and_told(cast, subject):
    auditor = cast.client("auditor")
    asked = auditor.post(PAGE, {"depth": "log"})
    assert (asked.status_code, asked["Location"]) == (302, PAGE)
    text = auditor.get(PAGE).content.decode()
    assert "<progress" in text and 'hx-trigger="every 1s"' in text, "it survives a reload"
    fragment = auditor.get(PAGE, headers={"HX-Request": "true"}).content.decode()
    assert fragment.lstrip().startswith('<section class="card" id="verifications"')
    assert "is running" in auditor.post(PAGE, {"depth": "log"}).content.decode()
    finish()
    text = auditor.get(PAGE).content.decode()
    assert "Log verified and intact" in text and 'hx-trigger="every' not in text
    event = Event.objects.get(verb="log.verified")
    assert (event.outcome, event.actor) == ("ok", str(cast.auditor.pk))


def test_what_is_broken_is_named_in_words(cast, subject):
    with harmed():
        Event.objects.filter(subject_id=subject.id, seq=3).delete()
        cast.client("auditor").post(PAGE, {"depth": "log"})
        finish()
        text = cast.client("auditor").get(PAGE).content.decode()
        assert "the log differs from its signed tree heads" in text and "later events exist" in text
        assert f"event #3 of deed {subject.id}" in text
        assert Event.objects.get(verb="log.verified").outcome == "failed"


def test_slices_add_up_and_a_lost_worker_costs_only_time(cast, subject, monkeypatch):
    monkeypatch.setattr("audit.verification.log_verifier.BATCH", 1)
    job = jobs.request_verification(cast.acme.pk, "someone", "log")
    slices = 0
    while jobs.run_slice(0):
        slices += 1
        Verification.objects.update(leased_until=timezone.now() + timedelta(seconds=60))
        assert not jobs.run_slice(0), "somebody has it in hand"
        job.refresh_from_db()
        Verification.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    job.refresh_from_db()
    size = Tree.objects.get(tenant=cast.acme.pk).size
    assert slices >= 3 and job.report["heads"] == newest_head(cast.acme.pk).number and job.report["events"] == size


@pytest.mark.parametrize(
    "form",
    [
        {"depth": "x"},
        {"depth": "range", "first": "5", "upto": "2"},
        {"depth": "subject"},
        {"depth": "subject", "subject": "x"},
        {"depth": "subject", "subject": str(uuid7())},
        {"depth": "range", "first": "²"},
        {"depth": "log", "head": "hello"},
    ],
)
def test_what_cannot_be_verified_is_refused_in_words(cast, subject, form):
    answer = cast.client("auditor").post(PAGE, form)
    assert answer.status_code == 422 and 'class="err"' in answer.content.decode()
    assert not Verification.objects.exists()


def test_programs_verify_too_and_take_heads_keys_and_proofs(cast, subject):
    client, kept = cast.api("auditor"), newest_head(cast.acme.pk)
    heads = client.get(f"{API}/heads", {"limit": 1}).json()
    assert heads["items"][0]["note"] == kept.note and heads["next"] == kept.number
    assert client.get(f"{API}/heads", {"before": 2}).json()["next"] is None
    assert client.get(f"{API}/keys").json()[0]["key_id"] == kept.key_id
    proof = client.get(f"{API}/consistency", {"first": 1}).json()
    assert proof["second"] == kept.size and proof["proof"]
    assert client.get(f"{API}/consistency", {"first": kept.size + 1}).status_code == 422
    assert client.get(f"{API}/integrity").json()["sealed_upto"] == kept.size
    for body in (
        {},
        {"depth": "range", "first": 1, "upto": 3, "head": kept.note},
        {"depth": "subject", "subject": str(subject.id)},
        {"depth": "range", "since": "2020-01-01T00:00:00Z"},
    ):
        asked = client.post(f"{API}/verifications", body, content_type="application/json")
        assert asked.status_code == 202, asked.content
        finish()
        done = client.get(f"{API}/verifications/{asked.json()['id']}").json()
        assert (done["status"], done["intact"]) == ("done", True), done
    found = client.post(f"{API}/{subject.id}/verify").json()
    assert found["intact"] and found["sealed"] == 5 and found["log_size"] >= kept.size


def test_a_head_can_be_kept_from_the_page(cast, subject):
    kept = newest_head(cast.acme.pk)
    answer = cast.client("auditor").get(f"{PAGE}heads/{kept.number}/")
    assert answer.content.decode() == kept.note and "attachment" in answer["Content-Disposition"]
    assert cast.client("auditor").get(f"{PAGE}heads/99999/").status_code == 404


def test_only_auditors_of_the_tenant_come_in(cast, subject):
    job = jobs.request_verification(cast.acme.pk, "someone", "log")
    assert cast.client("operator").get(PAGE).status_code == 403
    assert cast.client("operator").post(PAGE, {"depth": "log"}).status_code == 403
    assert cast.api("operator").get(f"{API}/verifications/{job.pk}").status_code == 403
    assert cast.api("auditor").get(f"{API}/verifications/{uuid7()}").status_code == 404


def test_verifying_a_subject_says_that_it_is_sealed(cast, subject):
    text = cast.client("auditor").post(f"/audit/{subject.id}/verify/", headers={"HX-Request": "true"}).content.decode()
    assert "All are in the signed log" in text


def test_who_administers_says_where_heads_go(cast, subject):
    admin, auditor = cast.client("admin"), cast.client("auditor")
    wanted = {"kind": "email", "address": "keeper@example.org", "every_s": "3600"}
    assert auditor.post(f"{PAGE}targets/", wanted).status_code == 403
    assert admin.post(f"{PAGE}targets/", wanted).status_code == 302
    refused = admin.post(f"{PAGE}targets/", {**wanted, "every_s": "x"})
    assert refused.status_code == 422 and "in seconds" in refused.content.decode()
    text = auditor.get(PAGE).content.decode()
    assert "keeper@example.org" in text and "Add sink" not in text
    target = HeadTarget.objects.get()
    assert cast.client("outsider").post(f"{PAGE}targets/{target.pk}/remove/").status_code in (403, 404)
    assert admin.post(f"{PAGE}targets/{target.pk}/remove/").status_code == 302 and not HeadTarget.objects.exists()
    api = cast.api("admin")
    made = api.post(f"{API}/head-targets", {"kind": "file"}, content_type="application/json")
    assert made.status_code == 201 and api.get(f"{API}/head-targets").json()[0]["kind"] == "file"
    assert api.delete(f"{API}/head-targets/{made.json()['id']}").status_code == 204
    assert api.delete(f"{API}/head-targets/{made.json()['id']}").status_code == 404
