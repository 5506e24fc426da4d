"""Reports made in the background, on a schedule, and mailed through a real SMTP server."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from email import message_from_string

import pytest
from django.core.mail import get_connection

from audit import errors
from audit.auditor.explore.saved_searches import create
from audit.auditor.reports import runs, schedules, worker
from audit.auditor.reports.registry import Column, Report, register_report
from audit.models import Event
from audit.models.auditor import ReportMail, ReportPart, ReportRun, ReportSchedule, SavedSearch
from audit.retention.erasure import erase_person
from audit.seals.sealer import seal_all
from tenants.models import Principal
from tenants.roles import remove_member
from tests.support.mailbox import Smtp, running

JSON = {"content_type": "application/json"}


@pytest.fixture(autouse=True)
def things():
    """A report of as many rows as the list `made` says."""
    made = [3]

    def rows(wanted):
        for n in range(made[0]):
            yield None
            yield {"n": n}

    register_report(
        Report("things", "Things", "Which things?", (Column("n", "N"),), rows, "things", "Them.", "Others.", ("CC8.1",))
    )
    yield made
    from audit.auditor.reports.registry import _reports

    del _reports["things"]


def ask(cast, who="auditor", kind="things", form="jsonl", **asked):
    return runs.request_report(cast.acme.pk, str(getattr(cast, who).pk), kind, form, asked)


def verbs(subject):
    return list(Event.objects.filter(subject_id=subject).order_by("seq").values_list("verb", flat=True))


def test_a_report_is_made_with_its_digest_in_the_log_and_the_head_it_rests_on(cast):
    seal_all()
    run = ask(cast, since="2026-07-01", until="2026-09-30", environment="prod")
    assert run.parameters["environment"] == str(cast.prod.pk) and run.status == "queued"
    assert worker.run_slice() and not worker.run_slice()
    run.refresh_from_db()
    data = b"".join(runs.read_file(run))
    assert (run.status, run.size, run.sha256) == ("done", len(data), hashlib.sha256(data).hexdigest())
    first = json.loads(data.splitlines()[0])
    assert first["scope"] == "1 Jul 2026 to 30 Sep 2026, prod" and first["requested by"].startswith("Auditor (")
    assert first["sealed head"].endswith(run.head["root"]) and run.head["size"] > 0
    assert verbs(run.pk) == ["report.requested", "report.made"]
    assert json.loads(bytes(Event.objects.get(subject_id=run.pk, seq=2).body))["facts"]["sha256"] == run.sha256


def test_a_large_one_is_written_in_parts_and_tells_how_far_it_is(cast, things, monkeypatch):
    things[0] = 300
    told = []
    monkeypatch.setattr(worker, "PROGRESS_S", 0.0)
    keep = worker._update
    monkeypatch.setattr(worker, "_update", lambda run, **values: (told.append(values.get("done")), keep(run, **values)))
    monkeypatch.setattr(worker, "MAX_ROWS", 250)
    monkeypatch.setattr(worker, "PART_BYTES", 1_000)
    run = ask(cast)
    worker.run_slice()
    run.refresh_from_db()
    assert run.status == "done" and not run.is_whole and run.parts.count() > 1
    assert [n for n in told if n] == sorted(n for n in told if n) and run.parts.first().data
    assert json.loads(b"".join(runs.read_file(run)).splitlines()[-1])["is_whole"] is False


def test_a_worker_that_lost_its_run_writes_nothing_more(cast):
    run = ask(cast)
    mine = worker.dequeue()
    ReportRun.objects.update(claimed_until=datetime.now(UTC) - timedelta(minutes=5))
    other = worker.dequeue()
    assert mine.pk == other.pk == run.pk and worker.dequeue() is None
    with pytest.raises(worker.LeaseLost):
        worker.make_report(mine)
    worker.make_report(other)
    run.refresh_from_db()
    assert run.status == "done" and verbs(run.pk).count("report.made") == 1


def test_a_run_whose_worker_dies_again_and_again_is_given_up(cast):
    run = ask(cast)
    for _ in range(4):
        ReportRun.objects.update(claimed_until=None)
        last = worker.dequeue()
    worker.make_report(last)
    run.refresh_from_db()
    assert run.status == "failed" and "three times" in run.error and verbs(run.pk)[-1] == "report.failed"


def test_who_may_no_longer_audit_gets_no_report(cast):
    run = ask(cast)
    remove_member(cast.auditor, cast.roles["auditor"])
    worker.run_slice()
    run.refresh_from_db()
    assert run.status == "failed" and not ReportPart.objects.exists()


def test_five_wait_at_most_and_a_cancelled_one_is_not_made(cast):
    made = [ask(cast) for _ in range(5)]
    with pytest.raises(errors.Conflict):
        ask(cast)
    runs.cancel_run(cast.acme.pk, str(cast.auditor.pk), made[0].pk)
    with pytest.raises(errors.NotFound):
        runs.cancel_run(cast.acme.pk, str(cast.admin.pk), made[1].pk)
    while worker.run_slice():
        pass
    made[0].refresh_from_db()
    assert made[0].status == "cancelled" and ReportRun.objects.filter(status="done").count() == 4
    with pytest.raises(runs.ReportNotReady):
        runs.read_file(made[0])


@pytest.mark.parametrize(
    "asked",
    [{"since": "x"}, {"since": "2026-02-02", "until": "2026-02-01"}, {"since": "2001-01-01"}, {"environment": "nope"}],
)
def test_what_cannot_be_asked_says_which_field(cast, asked):
    with pytest.raises(errors.Invalid) as refused:
        ask(cast, **asked)
    assert refused.value.extra["issues"][0]["field"] in asked


def test_periods_end_when_the_next_one_begins():
    at = datetime(2026, 11, 21, 11, tzinfo=UTC)  # a Saturday
    next_start = {every: schedules.next_period_start(every, at) for every in ("week", "month", "quarter")}
    assert [moment.date() for moment in next_start.values()] == [
        date(2026, 11, 23),
        date(2026, 12, 1),
        date(2027, 1, 1),
    ]
    before = [schedules.period_ending_at(every, moment) for every, moment in next_start.items()]
    assert before == [
        (date(2026, 11, 16), date(2026, 11, 22)),
        (date(2026, 11, 1), date(2026, 11, 30)),
        (date(2026, 10, 1), date(2026, 12, 31)),
    ]
    assert schedules.next_period_start("month", datetime(2026, 12, 1, tzinfo=UTC)).date() == date(2027, 1, 1)


def scheduled(cast, to=("ann@example.test",), every="month"):
    me = str(cast.auditor.pk)
    return schedules.create(cast.acme.pk, me, "things", "csv", every, list(to), {"environment": "prod"})


def test_a_schedule_makes_each_missed_period_once(cast):
    made = scheduled(cast)
    assert schedules.request_due() == 0
    ReportSchedule.objects.update(next_at=datetime(2026, 9, 1, tzinfo=UTC))
    while schedules.request_due():
        pass
    periods = ReportRun.objects.order_by("pk").values_list("parameters__since", "parameters__until")
    assert list(periods)[:2] == [("2026-08-01", "2026-08-31"), ("2026-09-01", "2026-09-30")]
    made.refresh_from_db()
    assert made.next_at > datetime.now(UTC) and set(ReportRun.objects.values_list("schedule", flat=True)) == {made.pk}


def test_a_schedule_ends_with_its_owners_role(cast):
    made = scheduled(cast)
    ReportSchedule.objects.update(next_at=datetime(2026, 9, 1, tzinfo=UTC))
    remove_member(cast.auditor, cast.roles["auditor"])
    assert schedules.request_due() == 0 == schedules.request_due()
    made.refresh_from_db()
    assert made.stopped_because and verbs(made.pk) == ["report.scheduled", "report.schedule_stopped"]


@pytest.mark.parametrize(
    "to", [["no address"], ["a@b.c\nBcc: x@y.z"], ["a@b.test"] * 3 + [f"{n}@b.test" for n in range(20)]]
)
def test_odd_addresses_are_refused(cast, to):
    with pytest.raises(errors.Invalid) as refused:
        scheduled(cast, to)
    assert refused.value.extra["issues"][0]["field"] == "recipients"


def test_each_recipient_gets_the_file_once_however_often_it_is_tried(cast, settings):
    made = scheduled(cast, ("ann@example.test", "bob@example.test"))
    ReportSchedule.objects.update(next_at=datetime(2026, 11, 1, tzinfo=UTC))
    with running(Smtp(refuses=1)) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
        assert get_connection()
        schedules.request_due()
        worker.run_slice()
        assert ReportMail.objects.filter(status="due").count() == 2, "written before anything is sent"
        schedules.send_due_mails()
        assert len(server.messages) == 1 and ReportMail.objects.get(status="due").attempts == 1
        ReportMail.objects.filter(status="due").update(next_at=datetime.now(UTC) - timedelta(seconds=1))
        while schedules.send_due_mails():
            pass
        assert schedules.send_due_mails() == 0
    run = ReportRun.objects.get(schedule=made)
    mails = [message_from_string(text) for text in server.messages]
    assert sorted(mail["To"] for mail in mails) == ["ann@example.test", "bob@example.test"]
    for mail in mails:
        [attached] = [part for part in mail.walk() if part.get_filename()]
        assert hashlib.sha256(attached.get_payload(decode=True)).hexdigest() == run.sha256
        assert "Things: 1 Oct 2026 to 31 Oct 2026, prod" in " ".join(mail["Subject"].split())
    assert verbs(run.pk)[-1] == "report.mailed" and "ann@" not in str(
        [bytes(e.body) for e in Event.objects.filter(subject_id__in=(run.pk, made.pk))]
    )


def test_reports_over_http(cast):
    program, other = cast.api("auditor"), cast.api("operator")
    assert "things" in [report["kind"] for report in program.get("/api/reports").json()]
    asked = program.post("/api/reports/things/runs", {"format": "csv", "environment": "prod"}, **JSON)
    assert asked.status_code == 202, asked.content
    here = f"/api/reports/runs/{asked.json()['id']}"
    assert program.get(f"{here}/file").status_code == 409
    worker.run_slice()
    got = program.get(here).json()
    assert got["status"] == "done" and program.get("/api/reports/runs").json()["items"] == [got]
    file = program.get(f"{here}/file")
    assert hashlib.sha256(b"".join(file.streaming_content)).hexdigest() == got["sha256"]
    assert program.post(f"{here}/cancel", **JSON).status_code == 409
    for path in ("", "/runs", "/schedules", "/controls", f"/runs/{got['id']}"):
        assert other.get(f"/api/reports{path}").status_code == 403
    assert cast.api("outsider").get(here).status_code in (403, 404)
    schedule = {"kind": "things", "every": "week", "recipients": ["a@b.test"]}
    made = program.post("/api/reports/schedules", schedule, **JSON)
    assert made.status_code == 201 and len(program.get("/api/reports/schedules").json()) == 1
    assert cast.api("admin").delete(f"/api/reports/schedules/{made.json()['id']}").status_code == 404
    assert program.delete(f"/api/reports/schedules/{made.json()['id']}").status_code == 204
    assert program.post("/api/reports/nothing/runs", {}, **JSON).status_code == 404


def test_reports_in_the_browser(cast):
    client = cast.client("auditor")
    page = client.get("/audit/reports/things/").content.decode()
    assert ">Preview<" in page and "Them." in page and "3 rows shown" in page
    refused = client.post(
        "/audit/reports/things/request/", {"since": "2026-02-02", "until": "2026-01-01", "format": "csv"}
    )
    assert refused.status_code == 422 and b"The period must end on or after" in refused.content
    assert client.post("/audit/reports/things/request/", {"format": "csv"}).status_code == 302
    listed = client.get("/audit/reports/").content.decode()
    assert "queued" in listed and 'hx-trigger="every 2s"' in listed
    worker.run_slice()
    run = ReportRun.objects.get()
    fragment = client.get("/audit/reports/", headers={"HX-Request": "true"}).content.decode()
    assert fragment.lstrip().startswith('<section class="card" id="runs"') and "every 2s" not in fragment
    assert client.get(f"/audit/reports/runs/{run.pk}/").status_code == 200
    got = client.get(f"/audit/reports/runs/{run.pk}/file/")
    assert got["Content-Disposition"].endswith('.csv"') and b"".join(got.streaming_content).startswith(b'"# report"')
    wrong = client.post("/audit/reports/things/schedule/", {"every": "day", "recipients": "x", "format": "csv"})
    assert wrong.status_code == 422 and b"is not a mail address" in wrong.content
    sent = {"every": "week", "recipients": "a@b.test, b@b.test", "format": "csv"}
    assert client.post("/audit/reports/things/schedule/", sent).status_code == 302
    made = ReportSchedule.objects.get()
    assert made.recipients == ["a@b.test", "b@b.test"] and b"every week" in client.get("/audit/reports/").content
    assert client.post(f"/audit/reports/schedules/{made.pk}/delete/").status_code == 302
    controls = client.get("/audit/controls/").content.decode()
    assert all(name in controls for name in ("CC8.1", "A.8.32", "CM-3", "PCI DSS", "Not shown: Others."))
    assert client.get("/audit/reports/nope/").status_code == 404


def test_erasing_a_person_takes_the_files_and_searches_that_may_hold_their_words(cast):
    run = ask(cast)
    worker.run_slice()
    create(cast.acme.pk, str(cast.auditor.pk), "theirs", "q=secret")
    create(cast.acme.pk, str(cast.admin.pk), "another's", "q=x")
    Principal.objects.filter(pk=cast.auditor.pk).update(is_active=False)
    erased = erase_person(cast.acme.pk, cast.auditor.pk, "they asked", "system:test")
    assert erased["searches"] == 1 and erased["report_files"] >= 1
    run.refresh_from_db()
    assert run.status == "done" and run.sha256 and not run.parts.exists()
    with pytest.raises(runs.ReportNotReady):
        runs.read_file(run)
    assert SavedSearch.objects.get().name == "another's"
