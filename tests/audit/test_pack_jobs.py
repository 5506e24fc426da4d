"""Packs that are built in the background: with progress, once, and downloaded in any pieces."""

import hashlib
import io
import json
from datetime import timedelta

import pytest

from audit.database.clock import uuid7
from audit.errors import Conflict
from audit.evidence import api, jobs
from audit.log.events import NewEvent, Subject, record
from audit.models import Event
from audit.models.auditor import Audience, PackChunk, PackJob
from audit.retention.erasure import erase_person
from audit.verification.chain import verify_chains
from audit.verify import verify_file

State = PackJob.State


@pytest.fixture
def subject(cast):
    found = Subject("deed", uuid7())
    for n in range(6):
        record(
            NewEvent(cast.acme.pk, found, "deed.done", str(cast.operator.pk), facts={"n": n}, private={"comment": "Hm"})
        )
    return found


@pytest.fixture(autouse=True)
def woken(monkeypatch):
    """Nobody listens but the test."""
    sent = []
    monkeypatch.setattr("audit.jobs.wakeup.current_app.send_task", lambda *names, **options: sent.append(names))
    return sent


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(api, "LARGE_EVENTS", 5)


def wanted(cast, subject, form="zip", audience="full"):
    return jobs.request_pack(cast.acme.pk, subject, audience, form, str(cast.auditor.pk))


def whole(job):
    return b"".join(jobs.read_content(job, 0, job.size))


def test_a_job_builds_the_pack_tells_how_far_it_is_and_leaves_its_events(cast, subject, monkeypatch):
    monkeypatch.setattr(jobs, "CHUNK_BYTES", 10_000)
    job = wanted(cast, subject)
    assert jobs.run_slice() and not jobs.run_slice()
    job.refresh_from_db()
    assert (job.state, job.done, job.total) == (State.READY, job.size, job.size)
    assert PackChunk.objects.filter(job=job).count() == -(-job.size // 10_000)
    assert hashlib.sha256(whole(job)).hexdigest() == job.sha256
    assert verify_file(io.BytesIO(whole(job))).seq == 6
    verbs = Event.objects.filter(subject_id=job.pk).order_by("seq").values_list("verb", flat=True)
    assert list(verbs) == ["evidence.requested", "evidence.built"]
    assert Event.objects.filter(subject_id=subject.id).count() == 6


def test_who_waits_for_the_same_already_gets_the_same_job_and_nobody_waits_for_many(cast, subject):
    assert wanted(cast, subject).pk == wanted(cast, subject).pk
    wanted(cast, subject, "pdf"), wanted(cast, subject, "zip", "external"), wanted(cast, subject, "pdf", "external")
    Audience.objects.create(tenant=cast.acme.pk, name="other", withheld=[])
    wanted(cast, subject, "zip", "other")
    with pytest.raises(Conflict):
        wanted(cast, subject, "pdf", "other")


def test_a_worker_that_was_taken_for_dead_stores_nothing_more(cast, subject, monkeypatch):
    job = wanted(cast, subject)
    stale = jobs._dequeue()
    PackJob.objects.filter(pk=job.pk).update(seen_at=stale.seen_at - timedelta(minutes=2))
    assert jobs.run_slice()
    with pytest.raises(jobs.LeaseLost):
        jobs._update(stale, doing="writing")
    job.refresh_from_db()
    assert (job.state, job.lease) == (State.READY, 2)


def test_a_job_that_loses_its_worker_three_times_is_given_up(cast, subject):
    job = wanted(cast, subject)
    for _ in range(jobs.MAX_ATTEMPTS):
        claimed = jobs._dequeue()
        PackJob.objects.filter(pk=job.pk).update(seen_at=claimed.seen_at - timedelta(minutes=2))
    jobs.run_slice()
    job.refresh_from_db()
    assert job.state == State.FAILED and "three times" in job.why


def test_what_fails_says_why(cast, subject, monkeypatch):
    def fail(*args):
        raise RuntimeError("no")

    monkeypatch.setattr(jobs, "plan_pack", fail)
    job = wanted(cast, subject)
    jobs.run_slice()
    job.refresh_from_db()
    assert (job.state, job.why) == (State.FAILED, "RuntimeError: no")


def test_after_a_day_it_is_gone(cast, subject):
    job = wanted(cast, subject)
    jobs.run_slice()
    PackJob.objects.filter(pk=job.pk).update(requested_at=job.requested_at - timedelta(hours=25))
    jobs.run_slice()
    assert not PackJob.objects.exists() and not PackChunk.objects.exists()


def test_erasing_a_person_takes_built_packs_away_and_leaves_old_ones_and_the_log_whole(cast, subject):
    job = wanted(cast, subject)
    jobs.run_slice()
    job.refresh_from_db()
    taken = whole(job)
    type(cast.operator).objects.filter(pk=cast.operator.pk).update(is_active=False)
    assert erase_person(cast.acme.pk, cast.operator.pk, "asked for it", str(cast.auditor.pk))["built_packs"] == 1
    assert not PackJob.objects.exists()
    assert verify_file(io.BytesIO(taken)).openings == 6
    job = wanted(cast, subject)
    jobs.run_slice()
    job.refresh_from_db()
    found = verify_file(io.BytesIO(whole(job)))
    assert (found.openings, found.closed) == (0, 6) and verify_chains(tenant=cast.acme.pk).ok


def test_the_api_answers_202_for_a_large_one_and_then_gives_it_in_pieces(cast, subject, large, monkeypatch):
    monkeypatch.setattr(jobs, "CHUNK_BYTES", 4096)
    api = cast.api("auditor")
    asked = api.get(f"/api/audit-logs/{subject.id}/evidence")
    assert asked.status_code == 202 and asked.json()["state"] == "waiting"
    assert api.get(f"{asked['Location']}/file").status_code == 409
    jobs.run_slice()
    found = api.get(asked["Location"]).json()
    assert (found["state"], found["done"]) == ("ready", found["size"])
    file = found["links"]["file"]
    data = b"".join(api.get(file).streaming_content)
    assert verify_file(io.BytesIO(data)).seq == 6
    first = api.get(file, headers={"Range": "bytes=0-9999"})
    rest = api.get(file, headers={"Range": "bytes=10000-", "If-Range": first["ETag"]})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert rest["Content-Range"] == f"bytes 10000-{len(data) - 1}/{len(data)}"
    assert b"".join([*first.streaming_content, *rest.streaming_content]) == data
    assert b"".join(api.get(file, headers={"Range": "bytes=-100"}).streaming_content) == data[-100:]
    assert api.get(file, headers={"Range": f"bytes={len(data)}-"}).status_code == 416
    other = api.get(file, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert other.status_code == 200 and b"".join(other.streaming_content) == data


def test_small_packs_come_at_once_as_pack_or_report_and_for_an_audience(cast, subject):
    api, here = cast.api("auditor"), f"/api/audit-logs/{subject.id}/evidence"
    assert verify_file(io.BytesIO(b"".join(api.get(f"{here}?audience=external").streaming_content))).closed == 6
    report = api.get(f"{here}?form=pdf")
    assert report["Content-Type"] == "application/pdf" and b"".join(report.streaming_content)[:5] == b"%PDF-"
    assert api.get(f"{here}?form=doc").status_code == 422
    assert api.get(f"{here}?head=x").status_code == 422
    assert api.get(f"{here}?audience=nobody").status_code == 404
    assert api.post(here, {"form": "pdf"}, content_type="application/json").status_code == 202


def test_who_administers_says_what_is_withheld_from_whom(cast, subject):
    path, body = "/api/evidence/audiences/regulator", json.dumps({"withheld": ["private:comment"]})
    assert cast.api("auditor").put(path, body, content_type="application/json").status_code == 403
    answer = cast.api("admin").put(path, body, content_type="application/json")
    assert (answer.status_code, answer.json()) == (200, {"name": "regulator", "withheld": ["private:comment"]})
    assert Event.objects.filter(verb="evidence.audience_changed").count() == 1
    nonsense = json.dumps({"withheld": ["everything"]})
    assert cast.api("admin").put(path, nonsense, content_type="application/json").status_code == 422
    listed = cast.api("auditor").get("/api/evidence/audiences").json()
    assert [found["name"] for found in listed] == ["full", "external", "regulator"]


def test_the_page_offers_the_choice_shows_progress_and_leads_to_the_file(cast, subject, large):
    browser, page = cast.client("auditor"), f"/audit/{subject.id}/export/"
    assert "Export evidence" in browser.get(page).content.decode()
    assert browser.post(page, {"form": "pdf", "audience": "external"}).status_code == 302
    text = browser.get(page).content.decode()
    assert "every 1s" in text and "waiting" in text
    jobs.run_slice()
    text = browser.get(f"{page}live/").content.decode()
    assert "every 1s" not in text and "Download" in text
    job = PackJob.objects.get()
    assert b"".join(browser.get(f"{page}{job.pk}/").streaming_content)[:5] == b"%PDF-"


def test_a_small_one_is_sent_at_once(cast, subject):
    answer = cast.client("auditor").post(f"/audit/{subject.id}/export/", {"form": "zip", "audience": "external"})
    assert (answer.status_code, answer["Location"]) == (
        302,
        f"/audit/{subject.id}/evidence/?form=zip&audience=external",
    )
    assert not PackJob.objects.exists()
