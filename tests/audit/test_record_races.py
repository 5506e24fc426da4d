"""record() from several connections at once: one chain, no gap, no fork, nothing lost."""

import threading

import pytest
from django.db import connection, transaction

from audit.log.events import record
from audit.models import Event, PrivateValue
from tests.audit.cast import a_subject, an_entry

pytestmark = pytest.mark.dialect

THREADS, EACH = 4, 15


@pytest.mark.django_db(transaction=True)
def test_events_recorded_at_once_form_one_chain():
    subject, start, taken, failures = a_subject(), threading.Barrier(THREADS), [], []

    def work(n):
        try:
            start.wait()
            for k in range(EACH):
                taken.append(record(an_entry(subject, facts={"thread": n, "k": k}, private={"comment": f"{n}/{k}"})))
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(taken) == list(range(1, THREADS * EACH + 1))
    chain = list(Event.objects.filter(subject_id=subject.id).order_by("seq"))
    assert [event.seq for event in chain] == sorted(taken)
    assert all(
        f'"prev":"{bytes(a.hash).hex()}"' in bytes(b.body).decode() for a, b in zip(chain, chain[1:], strict=False)
    )
    assert PrivateValue.objects.filter(subject_id=subject.id).count() == THREADS * EACH


@pytest.mark.django_db(transaction=True)
def test_an_event_that_waited_for_one_that_was_rolled_back_takes_its_place():
    subject, waiting, results = a_subject(), threading.Event(), []

    def second():
        waiting.set()
        results.append(record(an_entry(subject, "second")))
        connection.close()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        record(an_entry(subject, "first"))
        thread.start()
        waiting.wait()
        thread.join(0.2)
        assert results == []
        transaction.set_rollback(True)
    thread.join()
    assert results == [1]
    assert list(Event.objects.filter(subject_id=subject.id).values_list("verb", flat=True)) == ["second"]
