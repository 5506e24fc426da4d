"""Whatever is done to a sealed log behind the triggers' back is found and called by its name."""

import random

import pytest
from django.db import connection

from audit.log.events import record
from audit.models import Event
from audit.models.seals import Leaf, SignedTreeHead, SigningKey, Tree
from audit.seals.sealer import seal_all
from audit.seals.tree import newest_head
from audit.verification.log import (
    check_external_head,
    check_sealed_events,
    entries_between,
    verified_size,
    verify_tenant_log,
)
from audit.verification.log_verifier import LogVerifier
from audit.verification.status import integrity
from audit.verify import Broken
from audit.verify.merkle import leaf_hash
from audit.verify.signatures import parse_note, parse_tree_head
from tests.audit.cast import TENANT, a_subject, an_entry
from tests.audit.seals.tampering import WAYS, a_log, at, cut_back, harmed, rewrite

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]
POSITIONS = 5


@pytest.fixture
def log():
    return a_log()


def head_now():
    return parse_tree_head(parse_note(newest_head(TENANT).note).text)


def test_a_whole_log_verifies(log):
    verdict = verify_tenant_log(TENANT)
    assert (verdict.broken, verdict.entries, verdict.events) == (None, 25, 25)
    assert (verdict.heads, verdict.openings) == (newest_head(TENANT).number, 24)
    found = integrity(TENANT)
    assert found.ok is True and found.last_verified_at and verified_size(TENANT) == 25
    record(an_entry(log.subjects[0]))
    assert verify_tenant_log(TENANT).events == 26, "what is not sealed yet is verified, too"
    assert verify_tenant_log(TENANT, start=20).entries == 5
    assert check_sealed_events(TENANT, log.subjects[1].id) == (8, 25)


def try_all(log, way, positions, seed=7):
    dice = random.Random(f"{way}{seed}")
    for _ in range(positions):
        with harmed():
            kind, item = WAYS[way](log, dice)
            found = verify_tenant_log(TENANT).broken
            assert found is not None, f"{way} of {item} was not found"
            assert (found.kind, found.item) == (kind, item), f"{way} of {item}: {found}"
            assert integrity(TENANT).ok is False
    assert verify_tenant_log(TENANT).ok


@pytest.mark.parametrize("way", WAYS)
def test_it_is_found_and_named(log, way):
    try_all(log, way, POSITIONS)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
def test_fifty_times_each_in_a_longer_log(way):
    """More than one tile, so that entries stand in tiles and beyond them."""
    try_all(a_log(6, 60, 10), way, 50, seed=50)


def test_events_of_one_subject_are_held_against_the_log(log):
    for way in ("edit", "delete", "reorder", "truncate", "fork"):
        dice = random.Random(way)
        with harmed():
            kind, item = WAYS[way](log, dice)
            if not item.startswith("event") or kind == "column_mismatch":
                continue
            found = []
            for subject in log.subjects:
                try:
                    check_sealed_events(TENANT, subject.id)
                except Broken as broken:
                    found.append((broken.kind, broken.item))
            assert found == [(kind, item)]


def test_a_tail_that_was_cut_off_whole_shows_only_against_a_head_kept_elsewhere(log):
    kept = head_now()
    with harmed():
        cut_back(2)
        assert verify_tenant_log(TENANT).ok, "nothing inside can tell"
        found = verify_tenant_log(TENANT, external_heads=[kept]).broken
        assert found.kind == "truncated" and check_external_head(TENANT, kept).kind == "truncated"
    assert verify_tenant_log(TENANT, external_heads=[kept]).ok and check_external_head(TENANT, kept) is None


def test_a_tail_that_was_rewritten_and_signed_again_shows_against_a_head_kept_elsewhere(log):
    """The strongest enemy: who has the database and the installation's key."""
    kept, old = head_now(), parse_tree_head(parse_note(SignedTreeHead.objects.get(tenant=TENANT, number=2).note).text)
    with harmed():
        cut_back(2)
        for _ in range(40):
            record(an_entry(a_subject("deed")))
        seal_all()
        assert verify_tenant_log(TENANT).ok, "nothing inside can tell"
        assert verify_tenant_log(TENANT, external_heads=[old]).ok and check_external_head(TENANT, old) is None, (
            "the old part is the same"
        )
        found = verify_tenant_log(TENANT, external_heads=[kept]).broken
        assert (found.kind, found.item) == ("forked", f"entry {kept.size - 1} of the log")
        assert str(check_external_head(TENANT, kept)) == str(found)


def test_a_history_that_was_sealed_anew_without_the_key_is_found(log):
    """Chains, entries and heads are rewritten, but nobody can sign."""
    with harmed():
        rewrite(log.subjects[0], 3)
        for event in Event.objects.filter(subject_id=log.subjects[0].id):
            Leaf.objects.filter(pk=event.pk).update(hash=leaf_hash(bytes(event.body)))
        found = verify_tenant_log(TENANT).broken
        assert found.kind == "forked" and "was signed over" in found.detail
        head = SignedTreeHead.objects.filter(tenant=TENANT).order_by("number").last()
        first, _, rest = head.note.partition("\n")
        SignedTreeHead.objects.filter(pk=head.pk).update(note=f"{first}\n1{rest}")
        assert verify_tenant_log(TENANT).broken.kind == "forked"


@pytest.mark.parametrize("harm", ["note", "root", "gone", "last", "extra", "key", "swapped"])
def test_heads_and_keys_are_held_against_one_another(log, harm):
    heads = SignedTreeHead.objects.filter(tenant=TENANT)
    with harmed():
        if harm == "note":
            note = heads.get(number=2).note
            heads.filter(number=2).update(note=note.replace("number 2", "number 3"))
        elif harm == "root":
            heads.filter(number=2).update(root=b"r" * 32)
        elif harm == "gone":
            heads.filter(number=2).delete()
        elif harm == "last":
            heads.filter(number=newest_head(TENANT).number).delete()
        elif harm == "extra":
            Leaf.objects.create(
                event_id=record_one(log),
                tenant=TENANT,
                log_index=25,
                subject_id=log.subjects[0].id,
                seq=9,
                hash=leaf_hash(bytes(at(log.subjects[0], 9).body)),
            )
        elif harm == "key":
            SigningKey.objects.filter(tenant=TENANT).update(valid_from="2020-01-01T00:00:00Z")
        else:
            a, b = heads.get(number=2), heads.get(number=3)
            for pk, number in ((a.pk, 99), (b.pk, 2), (a.pk, 3)):
                heads.filter(pk=pk).update(number=number)
        found = verify_tenant_log(TENANT).broken
        wanted = {
            "note": ("edited", "head #2"),
            "root": ("edited", "head #2"),
            "gone": ("deleted", "head #2"),
            "last": ("truncated", "head #"),
            "extra": ("inserted", "entry 25"),
            "swapped": ("edited", "head #"),
            "key": ("edited", "a signing key"),
        }[harm]
        assert found.kind == wanted[0] and found.item.startswith(wanted[1]), str(found)


def record_one(log):
    record(an_entry(log.subjects[0]))
    return Event.objects.get(subject_id=log.subjects[0].id, seq=9).pk


def test_a_break_before_what_was_verified_last_is_left_to_a_full_verification(log):
    assert verify_tenant_log(TENANT).ok
    record(an_entry(log.subjects[0]))
    seal_all()
    with harmed():
        Event.objects.filter(subject_id=log.subjects[0].id, seq=1).update(body=b"{}")
        assert verify_tenant_log(TENANT, start=verified_size(TENANT)).ok
        assert not verify_tenant_log(TENANT).ok


def test_a_range_reaches_to_the_head_that_covers_it(log):
    second = SignedTreeHead.objects.get(tenant=TENANT, number=2)
    verdict = verify_tenant_log(TENANT, start=2, upto=5)
    assert verdict.ok and verdict.entries == second.size - 2
    third = SignedTreeHead.objects.get(tenant=TENANT, number=3)
    assert entries_between(TENANT, second.at, third.at) == (
        SignedTreeHead.objects.get(tenant=TENANT, number=1).size,
        third.size,
    )
    assert entries_between(TENANT, None, None) == (0, None)


def test_a_verification_resumes_where_it_stopped(log, monkeypatch):
    monkeypatch.setattr("audit.verification.log_verifier.BATCH", 4)
    verifier, slices = LogVerifier(TENANT), 0
    while not verifier.run(lambda: True):
        state, slices = verifier.state(), slices + 1
        verifier = LogVerifier.resume(TENANT, state, None, [])
    assert slices >= 2 and verifier.report.events == 25 and verifier.heads == newest_head(TENANT).number
    assert Tree.objects.get(tenant=TENANT).size == 25 and connection.in_atomic_block
