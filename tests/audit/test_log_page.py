"""The audit log's page."""

import io
import re

import pytest

from audit.database.clock import uuid7
from audit.log.events import NewEvent, Subject, record
from audit.models import Event, PrivateValue
from audit.verify import verify_file

PAGE = "/audit/"


@pytest.fixture
def subject(cast):
    found = Subject("deed", uuid7())
    facts = {"note": "<script>alert(1)</script>\u202e", "deep": {"a": [1, 2]}}
    for verb in ("deed.first", "deed.second", "deed.third"):
        record(
            NewEvent(cast.acme.pk, found, verb, str(cast.operator.pk), facts=facts, private={"comment": "Grüße <b>"})
        )
    return found


def page(cast, who="auditor", **query):
    answer = cast.client(who).get(PAGE, query)
    return answer.status_code, answer.content.decode()


def test_an_auditor_sees_events_with_names_and_without_secrets_or_markup(cast, subject):
    status, text = page(cast, subject=subject.id)
    assert status == 200
    assert re.findall(r'evt">(deed\.\w+)<', text) == ["deed.third", "deed.second", "deed.first"]
    assert "<span>Operator</span>" in text and "<script>alert" not in text and "\u202e" not in text
    assert "Grüße" not in text


def test_opening_an_event_shows_its_facts_and_its_place_in_the_chain(cast, subject):
    second = Event.objects.get(subject_id=subject.id, seq=2)
    _, text = page(cast, subject=subject.id, open=second.pk)
    assert f'id="ev-{second.pk}-more"' in text and "Grüße &lt;b&gt;" in text and "not in the signed log yet" in text
    link = text[text.index('class="link3"') :]
    hashes = [bytes(event.hash).hex()[:12] for event in Event.objects.filter(subject_id=subject.id).order_by("seq")]
    assert [link.index(found) for found in hashes] == sorted(link.index(found) for found in hashes)
    PrivateValue.objects.filter(subject_id=subject.id).update(salt=None, value=None)
    assert "erased" in page(cast, subject=subject.id, open=second.pk)[1]


def test_htmx_gets_the_log_alone(cast, subject):
    answer = cast.client("auditor").get(PAGE, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert answer.content.decode().lstrip().startswith('<section class="evlog" id="audit-log"')


def test_pages_lead_to_older_events_and_back(cast, subject, monkeypatch):
    monkeypatch.setattr("audit.auditor.explore.pages.EVENTS_PER_PAGE", 2)
    _, text = page(cast, subject=subject.id)
    older = re.search(r'rel="next" href="([^"]+)"', text)[1].replace("&amp;", "&")
    text = cast.client("auditor").get(older).content.decode()
    assert re.findall(r'evt">(deed\.\w+)<', text) == ["deed.first"] and 'rel="next"' not in text and "Newest" in text


def test_what_is_filtered_on_is_shown_and_can_be_taken_away(cast, subject):
    _, text = page(cast, verb="deed.second", since="2020-01-01", until="nonsense", subject="1")
    assert re.findall(r'evt">(deed\.\w+)<', text) == ["deed.second"]
    assert re.findall(r'fchip__k">(\w+)<', text) == ["event", "since"]
    assert 'href="/audit/?since=2020-01-01"' in text


def test_an_empty_log_says_what_to_do(cast, subject):
    _, text = page(cast, verb="nothing.like.this")
    assert "No events match" in text and "Show everything" in text


def test_nothing_is_called_verified_before_it_was(cast, subject):
    _, text = page(cast, subject=subject.id)
    assert "Not verified on this page yet" in text and "Chain verified" not in text


def test_verifying_shows_the_verdict_on_the_whole_chain(cast, subject):
    client = cast.client("auditor")
    text = client.post(f"/audit/{subject.id}/verify/").content.decode()
    assert "Chain verified up to #3" in text and 'id="audit-log"' in text
    fragment = client.post(f"/audit/{subject.id}/verify/", headers={"HX-Request": "true"}).content.decode()
    assert fragment.lstrip().startswith('<section class="chain" id="chain"') and 'id="audit-log"' not in fragment
    PrivateValue.objects.filter(subject_id=subject.id, seq=2).update(value=b"x")
    text = client.post(f"/audit/{subject.id}/verify/").content.decode()
    assert "chain--broken" in text and "event #2 of deed" in text and "Chain verified" not in text


def test_verifying_needs_a_post_with_its_token(cast, subject):
    assert cast.client("auditor").get(f"/audit/{subject.id}/verify/").status_code == 405
    assert cast.client("auditor", enforce_csrf_checks=True).post(f"/audit/{subject.id}/verify/").status_code == 403


def test_the_evidence_pack_can_be_taken_along(cast, subject):
    answer = cast.client("auditor").get(f"/audit/{subject.id}/evidence/")
    assert verify_file(io.BytesIO(b"".join(answer.streaming_content))).seq == 3


@pytest.mark.parametrize("who", ["operator", "approver", "outsider"])
def test_who_may_not_audit_is_refused(cast, subject, who):
    assert page(cast, who)[0] == 403
    for path in (f"/audit/{subject.id}/verify/", f"/audit/{subject.id}/evidence/"):
        method = cast.client(who).post if "verify" in path else cast.client(who).get
        assert method(path).status_code == 403


def test_a_stranger_is_sent_to_sign_in(cast, subject, client):
    answer = client.get(PAGE)
    assert answer.status_code == 302 and "sign-in" in answer["Location"]


def test_a_foreign_and_an_unknown_subject_answer_alike(cast, subject):
    foreign = Subject("deed", uuid7())
    record(NewEvent(cast.globex.pk, foreign, "deed.done", "system:setup"))
    client = cast.client("auditor")
    for path, method in (("evidence", client.get), ("verify", client.post)):
        answers = [method(f"/audit/{some}/{path}/") for some in (foreign.id, uuid7())]
        assert [answer.status_code for answer in answers] == [404, 404]


def test_unreadable_bytes_do_not_stop_the_page_from_being_read(cast, subject):
    from django.db import connection

    from audit.database import guards

    guards.unprotect(connection)
    event = Event.objects.get(subject_id=subject.id, seq=2)
    Event.objects.filter(pk=event.pk).update(body=b"\xff not json")
    guards.protect(connection)
    assert page(cast, subject=subject.id, open=event.pk)[0] == 200


def test_there_is_no_inline_style_or_script(cast, subject):
    _, text = page(cast, subject=subject.id, open=Event.objects.get(subject_id=subject.id, seq=2).pk)
    assert not re.search(r'<script(?![^>]* src=)|\sstyle="|<style|\son\w+="', text)


def test_the_page_costs_the_same_number_of_queries_whatever_it_shows(cast, subject, django_assert_max_num_queries):
    client = cast.client("auditor")
    for query in ({}, {"subject": subject.id}):
        with django_assert_max_num_queries(25):
            client.get(PAGE, query)
