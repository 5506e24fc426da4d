"""Sealing: every committed event gets one place in its tenant's log, and heads are signed, also over silence."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.database import clock
from audit.database.clock import uuid7
from audit.log.events import record
from audit.models import Event, seals
from audit.models.seals import Leaf, SignedTreeHead, SigningKey, Tile, Tree
from audit.seals import keys, sealer
from audit.seals import tree as tree_nodes
from audit.seals.sealer import seal, seal_all
from audit.seals.tree import StoredNodes, iterate_proofs, newest_head, proofs_for, prove_consistency
from audit.verification.status import integrity, sealing_delays
from audit.verify import signatures
from audit.verify.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from audit.verify.signatures import parse_note, parse_tree_head
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]
OTHER = uuid7()


@pytest.fixture
def subjects():
    """Two subjects of one tenant, one of another, five events each."""
    made = [(TENANT, a_subject()), (TENANT, a_subject()), (OTHER, a_subject())]
    for n in range(5):
        for tenant, subject in made:
            record(an_entry(subject, tenant=tenant, facts={"n": n}))
    return [subject for _, subject in made]


def leaves_of(tenant):
    ids = Leaf.objects.filter(tenant=tenant).order_by("log_index").values_list("event_id", flat=True)
    bodies = dict(Event.objects.filter(tenant=tenant).values_list("pk", "body"))
    return [leaf_hash(bytes(bodies[pk])) for pk in ids]


def head_of(tenant):
    note = newest_head(tenant).note
    return keys.verify_head(note, keys.verifiers(tenant))


def test_every_event_gets_one_place_and_a_head_signs_them(subjects):
    done = seal_all()
    assert (done.events, done.heads) == (17, 2), "15 events, and one for the key of each tenant"
    for tenant, count in ((TENANT, 11), (OTHER, 6)):
        indexes = list(Leaf.objects.filter(tenant=tenant).order_by("log_index").values_list("log_index", flat=True))
        assert indexes == list(range(count)) and Event.objects.filter(tenant=tenant).count() == count
        tree, head = Frontier(), head_of(tenant)
        tree.extend(leaves_of(tenant))
        assert (head.size, head.root, head.extension("number")) == (count, tree.root(), "1")
        assert head.origin == f"interlock/{tenant}"


def test_a_later_head_continues_the_one_before(subjects):
    seal_all()
    before, note = head_of(TENANT), newest_head(TENANT).note
    record(an_entry(subjects[0]))
    assert (seal().events, seal().events) == (1, 0)
    after = head_of(TENANT)
    assert (before.size, after.size, after.extension("number")) == (11, 12, "2")
    proof = prove_consistency(TENANT, before.size, after.size)
    assert verify_consistency(before.size, after.size, before.root, after.root, proof)
    assert after.extension("previous") == signatures.digest_of_note(note) and head_of(OTHER).extension("number") == "1"


def test_every_event_of_a_subject_is_proved_to_the_head(subjects):
    assert proofs_for(TENANT, subjects[1].id, 5).unsealed == 5 and not proofs_for(TENANT, subjects[1].id, 5).signed_head
    seal_all()
    record(an_entry(subjects[1]))
    proofs = proofs_for(TENANT, subjects[1].id, 6)
    head = parse_tree_head(parse_note(proofs.signed_head).text)
    assert proofs.unsealed == 1 and [leaf["seq"] for leaf in proofs.leaves] == [1, 2, 3, 4, 5]
    for leaf in proofs.leaves:
        body = bytes(Event.objects.get(subject_id=subjects[1].id, seq=leaf["seq"]).body)
        proof = [bytes.fromhex(part) for part in leaf["proof"]]
        assert verify_inclusion(leaf_hash(body), leaf["log_index"], head.size, proof, head.root)
    assert not proofs_for(OTHER, subjects[1].id, 5).leaves, "another tenant's key opens no door"
    assert [leaf["seq"] for leaf in iterate_proofs(TENANT, subjects[1].id, 2, newest_head(TENANT))] == [1, 2]


def test_tiles_hold_what_will_not_change_any_more(monkeypatch):
    """With tiles of four, 70 events make tiles on three levels, whatever the batches they come in."""
    monkeypatch.setattr(tree_nodes, "TILE", 4)
    monkeypatch.setattr(tree_nodes, "LEVELS", 2)
    subject, tree = a_subject(), Frontier()
    for batch in (3, 1, 9, 4, 20, 33):
        for _ in range(batch):
            record(an_entry(subject))
        seal_all()
    leaves = leaves_of(TENANT)
    assert len(leaves) == 71
    tree.extend(leaves)
    assert head_of(TENANT).root == tree.root()
    levels = {level: Tile.objects.filter(level=level).count() for level in (0, 1, 2, 3)}
    assert levels == {0: 17, 1: 4, 2: 1, 3: 0}
    nodes = StoredNodes(TENANT)
    for size in (1, 17, 64, 70, 71):
        partial = Frontier()
        partial.extend(leaves[:size])
        assert Frontier.at(size, nodes) == partial
    with pytest.raises(LookupError):
        nodes(0, 71)


def test_a_tile_is_256_wide():
    subject = a_subject()
    for _ in range(258):
        record(an_entry(subject))
    seal_all()
    tile = Tile.objects.get()
    assert (tile.level, tile.n, len(bytes(tile.hashes))) == (0, 0, 256 * 32)
    proofs = proofs_for(TENANT, subject.id, 258)
    head = head_of(TENANT)
    for leaf in (proofs.leaves[0], proofs.leaves[255], proofs.leaves[257]):
        body = bytes(Event.objects.get(subject_id=subject.id, seq=leaf["seq"]).body)
        proof = [bytes.fromhex(part) for part in leaf["proof"]]
        assert verify_inclusion(leaf_hash(body), leaf["log_index"], head.size, proof, head.root)


def test_what_is_idle_costs_one_statement(subjects):
    seal_all()
    seal_all()
    seal_all()
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert seal() == sealer.SealResult()
    assert len(asked) == 1, [query["sql"][:80] for query in asked]


def test_sealing_costs_the_same_for_many_tenants_as_for_one():
    def cost(tenants):
        for tenant in tenants:
            keys.signing_key(tenant)
            for _ in range(3):
                record(an_entry(a_subject(), tenant=tenant))
        with CaptureQueriesContext(connection) as asked:
            assert seal().heads == len(tenants)
        seal_all()
        return len(asked)

    cost([uuid7()])  # the horizon's row is made once
    assert cost([uuid7()]) == cost([uuid7() for _ in range(7)])


def test_more_than_a_batch_is_sealed_in_several_passes(subjects, monkeypatch):
    monkeypatch.setattr(sealer, "MAX_EVENTS", 4)
    assert seal().is_more
    assert seal_all().events == 13 and Leaf.objects.count() == 17 == Event.objects.count()


def test_silence_is_signed_after_a_while(subjects):
    seal_all()
    Tree.objects.filter(tenant=TENANT).update(sealed_at=clock.database_time() - timedelta(seconds=901))
    before = head_of(TENANT)
    assert (seal().heads, seal().heads) == (1, 0)
    after = head_of(TENANT)
    assert (after.size, after.root) == (before.size, before.root) and after.extension("number") == "2"
    assert after.extension("at") > before.extension("at")


@pytest.mark.parametrize("doubt", ["frontier", "size", "number", "key", "note"])
def test_nothing_is_signed_on_top_of_a_doubt_and_others_go_on(subjects, doubt):
    seal_all()
    tree = Tree.objects.get(tenant=TENANT)
    kept = {name: getattr(tree, name) for name in ("frontier", "size", "number")}
    if doubt == "frontier":
        Tree.objects.filter(tenant=TENANT).update(frontier=bytes(len(bytes(tree.frontier))))
    elif doubt in kept:
        Tree.objects.filter(tenant=TENANT).update(**{doubt: kept[doubt] + 1})
    elif doubt == "key":
        keys.revoke(TENANT, keys.signing_key(TENANT).key_id)
        row = SigningKey.objects.filter(tenant=TENANT, is_current=False)
        row.update(revoked_at=None)
    else:
        SignedTreeHead.objects.create(
            tenant=TENANT, number=2, size=11, root=b"", at=tree.sealed_at, key_id="", note="another\n\n— x AAAAAAAA\n"
        )
    record(an_entry(subjects[0]))
    record(an_entry(subjects[2], tenant=OTHER))
    seal_all()
    assert Leaf.objects.filter(tenant=OTHER).count() == 7, "another tenant is sealed all the same"
    assert Leaf.objects.filter(tenant=TENANT).count() == 11
    found = integrity(TENANT)
    assert found.ok is False and "Signing stopped" in found.broken


def test_a_tree_that_was_put_right_catches_up(subjects):
    seal_all()
    kept = bytes(Tree.objects.get(tenant=TENANT).frontier)
    Tree.objects.filter(tenant=TENANT).update(frontier=bytes(len(kept)))
    record(an_entry(subjects[0]))
    for _ in range(3):
        record(an_entry(subjects[2], tenant=OTHER))
        seal_all()
    assert seals.Horizon.objects.get().horizon > Event.objects.filter(tenant=TENANT).last().pk, "it went past them"
    Tree.objects.filter(tenant=TENANT).update(frontier=kept)
    seal_all()
    assert Leaf.objects.count() == Event.objects.count() and integrity(TENANT).broken == ""


def test_entries_that_the_tree_does_not_know_of_halt_that_tenant_alone(subjects):
    seal_all()
    Leaf.objects.create(event_id=10**9, tenant=TENANT, log_index=11, subject_id=uuid7(), seq=1, hash=b"x" * 32)
    record(an_entry(subjects[0]))
    record(an_entry(subjects[2], tenant=OTHER))
    seal_all()
    assert Leaf.objects.filter(tenant=OTHER).count() == 7
    assert "are not in the tree" in integrity(TENANT).broken


def test_status_says_how_far_and_how_late(subjects):
    assert integrity(TENANT).ok is None and integrity(TENANT).sealed_upto == 0
    assert set(sealing_delays()) == {TENANT, OTHER}
    seal_all()
    found = integrity(TENANT)
    assert (found.ok, found.sealed_upto, found.behind_s, found.broken) == (None, 11, 0.0, "")
    assert sealing_delays() == {} and not found.is_late
