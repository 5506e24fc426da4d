"""Keeping and letting go: archives that verify on their own, pruning of nothing else, holds, and erasure."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from audit.database import guards
from audit.database.clock import uuid7
from audit.errors import Conflict, Invalid, NotFound
from audit.log.artifacts import store_artifact
from audit.log.events import Subject, record
from audit.models import Event, PrivateValue
from audit.models.seals import Archive, Leaf
from audit.retention import archives, erasure
from audit.retention.archives import prune_archived, write_archive
from audit.retention.erasure import UnderLegalHold, erase_person, erase_values, lift_hold, set_hold
from audit.seals.keys import public_keys
from audit.seals.sealer import seal_all
from audit.verification.chain import verify_chains
from audit.verification.log import verify_sealed_subject, verify_tenant_log
from audit.verify import Broken
from audit.verify.__main__ import main
from audit.verify.archive import verify_archive
from audit.verify.signatures import parse_vkey
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]


@pytest.fixture(autouse=True)
def things_end(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Subjects of the kind `thing` have ended; archives are written below this test's directory."""
    monkeypatch.setattr(archives, "_ended_checks", {"thing": set})
    monkeypatch.setattr(archives, "archive_directory", lambda tenant: tmp_path / str(tenant))


def a_life(*verbs: str, kind: str = "thing", **more: Any) -> Subject:
    subject = a_subject(kind)
    for verb in verbs:
        record(an_entry(subject, verb, private={"reason": f"because of {verb}"}, **more))
    return subject


def archived(tmp_path: Path) -> Path:
    seal_all()
    made = write_archive(TENANT, 0)
    assert made is not None
    return tmp_path / str(TENANT) / made.file


def test_an_archive_verifies_on_its_own_and_the_next_goes_on_where_it_ended(tmp_path: Path) -> None:
    digest = store_artifact(TENANT, b"what was done", "text/plain")
    a_life("thing.made", "thing.changed", artifacts=(digest,))
    first = archived(tmp_path)
    again = a_life("thing.made")
    second = archived(tmp_path)
    with first.open("rb") as file:
        one = verify_archive(file)
    with second.open("rb") as file:
        two = verify_archive(file, [parse_vkey(public_keys(TENANT)[0]["vkey"])])
    assert (one.first, one.artifacts, two.first) == (0, 1, one.upto)
    assert str(again.id) in two.chains
    assert main([str(first)]) == 0 and main([str(first), "--key", public_keys(TENANT)[0]["vkey"]]) == 0
    assert write_archive(TENANT, 1) is None, "nothing is older than a day"


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_changed_in_an_archive_is_found(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    digest = store_artifact(TENANT, b"what was done", "text/plain")
    a_life("thing.made", "thing.changed", artifacts=(digest,))
    lines = gzip.decompress(archived(tmp_path).read_bytes()).splitlines()
    n = rng.randrange(len(lines))
    how = rng.choice(["drop", "repeat", "swap", "edit"])
    if how == "drop":
        del lines[n]
    elif how == "repeat":
        lines.insert(n, lines[n])
    elif how == "swap":
        m = (n + 1) % len(lines)
        lines[n], lines[m] = lines[m], lines[n]
    else:
        at = rng.randrange(len(lines[n]))
        lines[n] = lines[n][:at] + bytes([lines[n][at] ^ 1]) + lines[n][at + 1 :]
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"\n".join(lines)))
    assert main([str(broken)]) == 1, (how, n)


def test_an_archive_signed_by_somebody_else_is_refused_by_who_knows_the_key(tmp_path: Path) -> None:
    a_life("thing.made")
    path = archived(tmp_path)
    record(an_entry(a_subject(), tenant=uuid7()))
    seal_all()
    other = Leaf.objects.exclude(tenant=TENANT).get(log_index=0).tenant
    with path.open("rb") as file, pytest.raises(Broken, match="no key that is known here"):
        verify_archive(file, [parse_vkey(public_keys(other)[0]["vkey"])])


def test_only_what_is_archived_and_ended_is_pruned_and_each_chain_keeps_its_last_event(tmp_path: Path) -> None:
    ended = a_life("thing.made", "thing.changed", "thing.gone")
    alive = a_life("tree.made", "tree.grew", kind="tree")
    archived(tmp_path)
    goes_on = a_life("thing.made")
    record(an_entry(goes_on, "thing.changed"))
    assert prune_archived(TENANT) == 2
    assert list(Event.objects.filter(subject_id=ended.id).values_list("seq", flat=True)) == [3]
    assert list(PrivateValue.objects.filter(subject_id=ended.id).values_list("seq", flat=True)) == [3]
    assert Event.objects.filter(subject_id=alive.id).count() == 2
    assert Event.objects.filter(subject_id=goes_on.id).count() == 2
    assert prune_archived(TENANT) == 0
    record(an_entry(ended, "thing.remembered"))
    assert Event.objects.get(subject_id=ended.id, seq=4).verb == "thing.remembered"
    it = Archive.objects.get()
    assert (it.pruned, Event.objects.filter(verb="log.pruned").count()) == (2, 1)


def test_what_no_archive_covers_cannot_be_deleted_by_anybody(tmp_path: Path) -> None:
    subject = a_life("thing.made", "thing.changed")
    for is_archived in (False, True):
        if is_archived:
            archived(tmp_path)
            Archive.objects.update(prunable=False)
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            Event.objects.filter(subject_id=subject.id)._raw_delete("default")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Event.objects.filter(subject_id=subject.id).update(verb="x")
    assert Event.objects.filter(subject_id=subject.id).count() == 2


def test_an_archive_that_is_not_what_was_written_prunes_nothing(tmp_path: Path) -> None:
    subject = a_life("thing.made", "thing.changed")
    path = archived(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Conflict, match="Restore it"):
        prune_archived(TENANT)
    assert Event.objects.filter(subject_id=subject.id).count() == 2


def test_what_a_stream_has_not_taken_stays(tmp_path: Path) -> None:
    from audit.models.auditor import Stream

    a_life("thing.made", "thing.changed")
    archived(tmp_path)
    stream = Stream.objects.create(tenant=TENANT, name="siem", kind="file", position=0)
    assert prune_archived(TENANT) == 0
    Stream.objects.filter(pk=stream.pk).update(position=10**6)
    assert prune_archived(TENANT) == 1


def test_a_hold_keeps_a_subject_or_everything_until_it_is_lifted(tmp_path: Path) -> None:
    subject = a_life("thing.made", "thing.changed")
    archived(tmp_path)
    one = set_hold(TENANT, "case 7", "somebody", subject.id)
    assert prune_archived(TENANT) == 0
    with pytest.raises(UnderLegalHold):
        erase_values(TENANT, subject.id, "somebody", "asked")
    whole = set_hold(TENANT, "case 8", "somebody")
    lift_hold(TENANT, one.pk, "somebody")
    assert prune_archived(TENANT) == 0
    with pytest.raises(NotFound):
        lift_hold(uuid7(), whole.pk, "somebody")
    lift_hold(TENANT, whole.pk, "somebody")
    assert prune_archived(TENANT) == 1 and erasure.active_holds(TENANT) == []
    told = Event.objects.filter(verb__startswith="legal_hold.").order_by("id").values_list("verb", flat=True)
    assert list(told) == ["legal_hold.set", "legal_hold.set", "legal_hold.lifted", "legal_hold.lifted"]
    with pytest.raises(Invalid):
        set_hold(TENANT, "  ", "somebody")


def test_erasing_a_person_empties_what_they_wrote_and_leaves_every_chain(tmp_path: Path) -> None:
    person, other = uuid7(), uuid7()
    theirs = a_subject()
    for actor in (person, other):
        entry = an_entry(theirs, "thing.said", private={"comment": f"by {actor}"})
        entry.actor = str(actor)
        record(entry)
    record(an_entry(Subject("principal", person), "principal.named", private={"name": "Ada"}))
    before = {e.pk: bytes(e.hash) for e in Event.objects.all()}
    assert erase_person(TENANT, person, "she asked", "somebody")["values"] == 2
    left = PrivateValue.objects.exclude(erased_at=None)
    assert {(v.subject_id, v.seq) for v in left} == {(theirs.id, 1), (person, 1)}
    assert all(v.salt is None and v.value is None for v in left)
    assert PrivateValue.objects.get(subject_id=theirs.id, seq=2).value is not None
    assert {e.pk: bytes(e.hash) for e in Event.objects.filter(pk__in=before)} == before
    told = json.loads(bytes(Event.objects.get(verb="person.erased").body))
    assert told["facts"]["erased"]["values"] == 2
    with pytest.raises(Invalid):
        erase_person(TENANT, person, " ", "somebody")
    archived(tmp_path)


def test_what_was_pruned_still_verifies_and_what_was_deleted_is_found(tmp_path: Path) -> None:
    ended, other = a_life("thing.made", "thing.changed", "thing.gone"), a_life("tree.made", "tree.grew", kind="tree")
    archived(tmp_path)
    assert prune_archived(TENANT) == 2
    seal_all()
    assert verify_tenant_log(TENANT).ok and verify_chains(tenant=TENANT).ok
    assert verify_sealed_subject(TENANT, ended.id).ok
    record(an_entry(ended, "thing.remembered"))
    assert verify_tenant_log(TENANT).ok and verify_chains(tenant=TENANT).ok
    seal_all()
    assert verify_tenant_log(TENANT).ok
    guards.unprotect(connection)
    gone = a_life("thing.made", "thing.changed")
    seal_all()
    Event.objects.filter(subject_id=gone.id, seq=1)._raw_delete("default")
    verdict = verify_tenant_log(TENANT)
    assert verdict.broken is not None and verdict.broken.kind == "deleted"
    assert not verify_chains(subject_id=gone.id).ok and verify_chains(subject_id=other.id).ok


def test_a_row_that_says_archived_is_no_excuse(tmp_path: Path) -> None:
    subject = a_life("thing.made", "thing.changed")
    seal_all()
    Archive.objects.create(tenant=TENANT, first=0, upto=2, file="none", sha256="", size=0, prunable=True)
    Event.objects.filter(subject_id=subject.id, seq=1)._raw_delete("default")
    assert not verify_tenant_log(TENANT).ok and not verify_chains(subject_id=subject.id).ok
