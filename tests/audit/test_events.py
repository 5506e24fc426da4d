"""record() and append(): one chain per subject, of the bytes that were hashed."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.database.clock import database_time
from audit.log import events
from audit.log.events import (
    BrokenChain,
    ChainHead,
    NewEvent,
    append_events,
    read_chain_heads,
    record,
    register_sequencer,
)
from audit.models import Event, PrivateValue
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]
AT = datetime(2026, 11, 21, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def sequencers(monkeypatch):
    monkeypatch.setattr(events, "_sequencers", {})


def test_the_envelope_has_exactly_the_fields_of_version_one():
    subject = a_subject()
    entry = NewEvent(TENANT, subject, "thing.changed", "system:decide", "refused", "c" * 32, {"n": 1}, {}, ("ab" * 32,))
    append_events([entry], {}, AT)
    event = Event.objects.get(subject_id=subject.id)
    assert json.loads(bytes(event.body)) == {
        "v": 1,
        "tenant": str(TENANT),
        "subject": {"kind": "thing", "id": str(subject.id)},
        "seq": 1,
        "verb": "thing.changed",
        "outcome": "refused",
        "actor": "system:decide",
        "correlation_id": "c" * 32,
        "at": "2026-11-21T04:05:06.000007Z",
        "facts": {"n": 1},
        "artifacts": ["ab" * 32],
        "prev": "",
    }
    assert bytes(event.hash) == hashlib.sha256(bytes(event.body)).digest()
    assert (event.tenant, event.subject_kind, event.seq, event.verb) == (TENANT, "thing", 1, "thing.changed")
    assert (event.outcome, event.actor, event.correlation_id, event.at) == ("refused", "system:decide", "c" * 32, AT)


def test_title_and_url_of_a_subject_are_not_in_the_body():
    subject = a_subject()
    record(an_entry(subject))
    body = bytes(Event.objects.get(subject_id=subject.id).body).decode()
    assert subject.title not in body and subject.url not in body


def test_several_entries_of_one_subject_chain_in_the_order_given():
    one, two = a_subject(), a_subject()
    entries = [an_entry(one, "a"), an_entry(two, "b"), an_entry(one, "c"), an_entry(one, "d")]
    after = append_events(entries, read_chain_heads([one.id, two.id]), AT)
    chain = list(Event.objects.filter(subject_id=one.id).order_by("seq"))
    assert [(event.seq, event.verb) for event in chain] == [(1, "a"), (2, "c"), (3, "d")]
    assert [json.loads(bytes(event.body))["prev"] for event in chain] == [
        "",
        bytes(chain[0].hash).hex(),
        bytes(chain[1].hash).hex(),
    ]
    assert (
        after
        == read_chain_heads([one.id, two.id])
        == {one.id: ChainHead(3, bytes(chain[2].hash)), two.id: after[two.id]}
    )


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_batch_takes_a_statement_or_two_whatever_its_size(size):
    entries = [an_entry(a_subject(), private={"comment": "why not"}) for _ in range(size)]
    with CaptureQueriesContext(connection) as queries:
        append_events(entries, {}, AT)
    assert len(queries) == (1 if connection.vendor == "postgresql" else 2)
    assert Event.objects.count() == PrivateValue.objects.count() == size


def test_no_entries_take_no_statement():
    with CaptureQueriesContext(connection) as queries:
        assert append_events([], {}, AT) == {}
        assert read_chain_heads([]) == {}
    assert len(queries) == 0


def test_heads_of_many_subjects_take_one_query():
    subjects = [a_subject() for _ in range(5)]
    known = append_events([an_entry(subject) for subject in subjects[1:]], {}, AT)
    with CaptureQueriesContext(connection) as queries:
        found = read_chain_heads([subject.id for subject in subjects])
    assert len(queries) == 1
    assert found == {subjects[0].id: ChainHead(0, b""), **known}


def test_a_private_value_enters_only_as_a_commitment_that_its_salt_opens():
    subject = a_subject()
    text = "Ana López said: go\x00 ahead"
    record(an_entry(subject, private={"comment": text}))
    event = Event.objects.get(subject_id=subject.id)
    kept = PrivateValue.objects.get(subject_id=subject.id, seq=1, name="comment")
    assert "López" not in bytes(event.body).decode()
    facts = json.loads(bytes(event.body))["facts"]
    assert facts == {"comment": {"commitment": hmac.new(bytes(kept.salt), text.encode(), "sha256").hexdigest()}}
    assert bytes(kept.value).decode() == text and len(bytes(kept.salt)) == 32


def test_equal_private_values_have_unequal_commitments():
    subject = a_subject()
    record(an_entry(subject, private={"comment": "no"}))
    record(an_entry(subject, private={"comment": "no"}))
    bodies = [json.loads(bytes(event.body)) for event in Event.objects.filter(subject_id=subject.id)]
    assert len({body["facts"]["comment"]["commitment"] for body in bodies}) == 2


def test_a_name_that_is_both_fact_and_private_value_is_refused():
    with pytest.raises(ValueError, match="both"):
        record(an_entry(a_subject(), facts={"comment": 1}, private={"comment": "x"}))
    assert not Event.objects.exists() and not PrivateValue.objects.exists()


def test_a_stale_head_is_refused_and_leaves_nothing():
    subject = a_subject()
    stale = read_chain_heads([subject.id])
    record(an_entry(subject))
    with pytest.raises(IntegrityError), transaction.atomic():
        append_events([an_entry(subject, private={"comment": "x"})], stale, AT)
    assert Event.objects.count() == 1 and not PrivateValue.objects.exists()


def test_record_counts_on_from_the_last_event():
    subject = a_subject()
    assert [record(an_entry(subject)) for _ in range(3)] == [1, 2, 3]


def test_record_tries_again_when_another_event_got_there_first(monkeypatch):
    subject = a_subject()
    record(an_entry(subject))
    answers = [{subject.id: ChainHead(0, b"")}]
    monkeypatch.setattr(events, "read_chain_heads", lambda ids: answers.pop() if answers else read_chain_heads(ids))
    assert record(an_entry(subject)) == 2
    assert answers == []


def test_record_asks_the_sequencer_of_the_kind_and_uses_its_time(sequencers):
    asked = []

    def sequencer(subject_id):
        asked.append(subject_id)
        return 1, AT

    register_sequencer("counted", sequencer)
    subject = a_subject("counted")
    assert record(an_entry(subject)) == 1
    assert asked == [subject.id] and Event.objects.get(subject_id=subject.id).at == AT
    record(an_entry(a_subject("other")))
    assert asked == [subject.id]


def test_a_sequencer_that_disagrees_with_the_log_is_refused(sequencers):
    register_sequencer("counted", lambda subject_id: (5, AT))
    with pytest.raises(BrokenChain, match="is at 4, its log at 0"):
        record(an_entry(a_subject("counted")))
    assert not Event.objects.exists()


def test_the_database_time_is_aware_and_about_now():
    assert abs((database_time() - datetime.now(UTC)).total_seconds()) < 60
    assert database_time().utcoffset().total_seconds() == 0
