"""Sealing while others record: what commits late is sealed late, not lost, and two sealers never cross."""

import random
import threading
import time

import pytest
from django.db import connection, connections, transaction

from audit.log.events import record
from audit.models import Event
from audit.models.seals import Horizon, Leaf, SignedTreeHead
from audit.seals import keys, sealer
from audit.seals.sealer import seal, seal_all
from audit.verify.merkle import Frontier
from tests.audit.cast import TENANT, a_subject, an_entry
from tests.conftest import VENDOR

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]
PATIENCE_S = 20


def assert_sealed():
    """Every event has one place; the newest head stands for all of them; each head continues the one before."""
    rows = list(Leaf.objects.filter(tenant=TENANT).order_by("log_index").values_list("log_index", "event_id", "hash"))
    assert [row[0] for row in rows] == list(range(Event.objects.count()))
    assert {row[1] for row in rows} == set(Event.objects.values_list("pk", flat=True))
    known, tree, heads = keys.verifiers(TENANT), Frontier(), SignedTreeHead.objects.order_by("number")
    for n, checkpoint in enumerate(heads, 1):
        tree.extend(bytes(row[2]) for row in rows[tree.size : checkpoint.size])
        head = keys.verify_head(checkpoint.note, known)
        assert (checkpoint.number, head.size, head.root) == (n, tree.size, tree.root())
    assert tree.size == len(rows)


@pytest.mark.postgresql  # SQLite has one writer, and no locks on rows
def test_an_event_that_commits_late_is_sealed_when_it_comes():
    keys.signing_key(TENANT)
    begun, may_commit = threading.Event(), threading.Event()

    def late():
        try:
            with transaction.atomic():
                record(an_entry(a_subject(), "came.late"))
                begun.set()
                may_commit.wait(PATIENCE_S)
        finally:
            connections.close_all()

    thread = threading.Thread(target=late)
    thread.start()
    assert begun.wait(PATIENCE_S)
    for _ in range(4):
        record(an_entry(a_subject()))
        seal_all()
    first = Event.objects.exclude(verb="signing_key.made").order_by("id").first()
    assert Leaf.objects.count() == Event.objects.count() == 5, "nobody waits for it"
    assert Horizon.objects.get().horizon < first.pk - 1, "the horizon does"
    may_commit.set()
    thread.join(PATIENCE_S)
    came = Event.objects.get(verb="came.late")
    assert came.pk < first.pk, "its id came before theirs"
    seal_all()
    assert Leaf.objects.get(event_id=came.pk).log_index == 5
    for _ in range(3):
        seal()
    assert Horizon.objects.get().horizon == Event.objects.order_by("id").last().pk
    assert_sealed()


@pytest.mark.postgresql  # SQLite has one writer, and no locks on rows
def test_two_sealers_at_once_never_cross(monkeypatch):
    """One has the trees in hand and is slow; the other leaves them alone, and neither meets the other's rows."""
    keys.signing_key(TENANT)
    subject = a_subject()
    halted, held, go_on = [], threading.Event(), threading.Event()
    monkeypatch.setattr(sealer, "_halt", lambda row, why: halted.append(why))

    def slowly(step):
        if step == "read" and threading.current_thread() is not threading.main_thread():
            held.set()
            go_on.wait(PATIENCE_S)

    def first():
        try:
            seal()
        finally:
            connections.close_all()

    seal_all()
    monkeypatch.setattr(sealer, "failpoint", slowly)
    record(an_entry(subject))
    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(PATIENCE_S)
    threading.Timer(0.5, go_on.set).start()
    record(an_entry(subject))
    assert seal().events == 0, "another sealer has this tenant in hand"
    thread.join(PATIENCE_S)
    seal_all()
    assert halted == []
    assert_sealed()


def test_a_storm_of_writers_and_sealers_leaves_a_whole_log(monkeypatch):
    """Transactions of all lengths, some of which fail, and three sealers."""
    keys.signing_key(TENANT)
    halted, faults, done = [], [], threading.Event()
    monkeypatch.setattr(sealer, "_halt", lambda row, why: halted.append(why))

    def writer(seed):
        dice, subject = random.Random(seed), a_subject()
        for _ in range(12):
            with transaction.atomic():
                for _ in range(dice.randint(1, 3)):
                    record(an_entry(subject))
                time.sleep(dice.choice((0, 0, 0.01, 0.04)) if VENDOR == "postgresql" else 0)
                if dice.random() < 0.2:
                    transaction.set_rollback(True)

    def sealing(seed):
        while not done.is_set():
            seal()
            time.sleep(0.005)

    def run(what, seed):
        try:
            what(seed)
        except Exception as fault:
            faults.append(fault)
        finally:
            connections.close_all()

    sealers = [threading.Thread(target=run, args=(sealing, n)) for n in range(3)]
    writers = [threading.Thread(target=run, args=(writer, n)) for n in range(6)]
    for thread in (*sealers, *writers):
        thread.start()
    for thread in writers:
        thread.join(PATIENCE_S)
    done.set()
    for thread in sealers:
        thread.join(PATIENCE_S)
    connection.ensure_connection()
    seal_all()
    assert (faults, halted) == ([], [])
    assert Event.objects.count() > 50
    assert_sealed()
