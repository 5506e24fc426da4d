"""GET /api/audit-logs and its companions."""

import io
import json
from datetime import timedelta

import pytest

from audit.database.clock import uuid7
from audit.log import artifacts
from audit.log.events import NewEvent, Subject, record
from audit.models import Event, PrivateValue
from audit.verify import verify_file

pytestmark = pytest.mark.dialect

LOG = "/api/audit-logs"


@pytest.fixture
def subject(cast):
    """A subject of acme with four events; globex has one too."""
    found = Subject("deed", uuid7())
    for n, verb in enumerate(("deed.done", "approval.granted", "approval.rejected", "deed.done")):
        outcome = "refused" if n == 2 else "ok"
        record(
            NewEvent(
                cast.acme.pk, found, verb, str(cast.operator.pk), outcome, f"c{n}", {"n": n}, {"comment": f"say {n}"}
            )
        )
    record(NewEvent(cast.globex.pk, Subject("deed", uuid7()), "deed.done", str(cast.outsider.pk)))
    return found


def read(client, **query):
    answer = client.get(LOG, query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_an_auditor_reads_whole_events_newest_first(cast, subject):
    page = read(cast.api("auditor"), subject=subject.id)
    assert [item["seq"] for item in page["items"]] == [4, 3, 2, 1] and page["next"] is None
    item, event = page["items"][1], Event.objects.get(subject_id=subject.id, seq=3)
    body = json.loads(bytes(event.body))
    assert item == {
        "id": event.pk,
        "seq": 3,
        "at": item["at"],
        "subject": {"kind": "deed", "id": str(subject.id), "title": "", "url": ""},
        "verb": "approval.rejected",
        "outcome": "refused",
        "actor": str(cast.operator.pk),
        "correlation_id": "c2",
        "facts": body["facts"],
        "private": {"comment": "say 2"},
        "artifacts": [],
        "prev": body["prev"],
        "hash": bytes(event.hash).hex(),
        "log_index": None,
    }
    assert set(item["facts"]["comment"]) == {"commitment"}


def test_an_erased_value_reads_null(cast, subject):
    PrivateValue.objects.filter(subject_id=subject.id, seq=4).update(salt=None, value=None)
    assert read(cast.api("auditor"), subject=subject.id)["items"][0]["private"] == {"comment": None}


def test_pages_follow_one_another_without_gap_or_repetition(cast, subject):
    client, seen, before = cast.api("auditor"), [], {}
    while True:
        page = read(client, limit=3, **before)
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert seen == list(Event.objects.filter(tenant=cast.acme.pk).order_by("-id").values_list("id", flat=True))


def test_every_filter_narrows(cast, subject):
    client = cast.api("auditor")
    third = Event.objects.get(subject_id=subject.id, seq=3)

    def seqs(**query):
        return [item["seq"] for item in read(client, subject=subject.id, **query)["items"]]

    assert seqs(verb="approval") == [3, 2] and seqs(verb="deed.done") == [4, 1] and seqs(verb="deed.d") == []
    assert seqs(outcome="refused") == [3] and seqs(correlation_id="c1") == [2]
    assert seqs(actor=str(cast.operator.pk)) == [4, 3, 2, 1] and seqs(actor="system:decide") == []
    assert seqs(since=third.at.isoformat()) == [4, 3] and seqs(until=third.at.isoformat()) == [2, 1]
    assert seqs(since=(third.at + timedelta(hours=1)).isoformat()) == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "before=-1",
        "before=99999999999999999999",
        "subject=1",
        "since=yesterday",
        "since=0001-01-01T00:00:00Z",
        "actor=%00",
        "until=2026-01-01T00:00:00",
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_field(cast, query):
    answer = cast.api("auditor").get(f"{LOG}?{query}")
    assert answer.status_code == 422
    assert answer.json()["issues"][0]["field"].endswith(query.split("=")[0])


@pytest.mark.parametrize("who", ["operator", "approver", "security", "agent", "outsider"])
def test_who_may_not_audit_is_refused_and_told_what_to_do(cast, subject, who):
    client = cast.api(who)
    for answer in (
        client.get(LOG),
        client.get(f"{LOG}/{subject.id}/evidence"),
        client.post(f"{LOG}/{subject.id}/verify"),
    ):
        assert answer.status_code == 403 and answer["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "forbidden" and "auditor" in answer.json()["remedies"][0]


def test_a_stranger_is_asked_who_they_are(cast, client):
    assert client.get(LOG).status_code == 401


def test_nothing_of_another_tenant_is_there(cast, subject):
    client = cast.api("auditor")
    foreign = Event.objects.get(tenant=cast.globex.pk, verb="deed.done").subject_id
    assert read(client, subject=foreign)["items"] == []
    for kind, method in (("evidence", client.get), ("verify", client.post)):
        answers = [method(f"{LOG}/{some}/{kind}") for some in (foreign, uuid7())]
        assert [answer.status_code for answer in answers] == [404, 404]
        bodies = [{**answer.json(), "correlation_id": ""} for answer in answers]
        assert bodies[0] == bodies[1]


def test_a_chain_is_verified_and_what_is_broken_is_named(cast, subject):
    client = cast.api("auditor")
    head = bytes(Event.objects.get(subject_id=subject.id, seq=4).hash).hex()
    assert client.post(f"{LOG}/{subject.id}/verify").json() == {
        "intact": True,
        "events": 4,
        "artifacts": 0,
        "openings": 4,
        "head": head,
        "sealed": 0,
        "log_size": 0,
        "broken": None,
    }
    PrivateValue.objects.filter(subject_id=subject.id, seq=2).update(value=b"other")
    verdict = client.post(f"{LOG}/{subject.id}/verify").json()
    assert verdict["intact"] is False and verdict["broken"]["kind"] == "opening_mismatch"


def test_the_evidence_pack_is_a_download_that_verifies(cast, subject):
    digest = artifacts.store_artifact(cast.acme.pk, b"log" * 300_000, "text/plain")
    record(NewEvent(cast.acme.pk, subject, "deed.logged", "system:execute", artifacts=(digest,)))
    answer = cast.api("auditor").get(f"{LOG}/{subject.id}/evidence")
    data = b"".join(answer.streaming_content)
    assert answer.status_code == 200 and int(answer["Content-Length"]) == len(data)
    assert answer["Content-Disposition"] == f'attachment; filename="evidence-deed-{subject.id}.zip"'
    assert verify_file(io.BytesIO(data)).artifacts == 1


def test_a_page_costs_the_same_number_of_queries_whatever_its_size(cast, subject, django_assert_max_num_queries):
    client = cast.api("auditor")
    client.get(LOG)
    for limit in (2, 50):
        with django_assert_max_num_queries(12):
            read(client, limit=limit)
