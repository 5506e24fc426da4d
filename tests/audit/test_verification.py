"""verify_audit: whatever is changed behind the triggers' back is found, and named."""

import hashlib
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.database import guards
from audit.database.clock import uuid7
from audit.log import artifacts
from audit.log.artifacts import CHUNK_BYTES
from audit.log.events import record
from audit.models import Artifact, Event, PrivateValue
from audit.verification import chain
from audit.verification.chain import verify_chains, verify_subject_chain
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]
LENGTH = 6


@pytest.fixture
def subjects():
    """Three subjects of six events each; the fourth event of each names an artifact, the fifth keeps a comment."""
    made = [a_subject("deed") for _ in range(3)]
    for n, subject in enumerate(made):
        digest = artifacts.store_artifact(TENANT, f"log {n}".encode() * CHUNK_BYTES, "text/plain")
        for seq in range(1, LENGTH + 1):
            named = (digest,) if seq == 4 else ()
            private = {"comment": f"words {n}"} if seq == 5 else {}
            record(an_entry(subject, f"verb.{seq}", facts={"n": seq}, artifacts=named, private=private))
    return made


@pytest.fixture
def harm():
    guards.unprotect(connection)
    yield lambda subject, seq: Event.objects.filter(subject_id=subject.id, seq=seq)
    guards.protect(connection)


def broken_of(subject):
    """The verdict on everything names what the verdict on the subject does."""
    alone = verify_subject_chain(TENANT, subject.kind, subject.id).broken
    whole = verify_chains().broken
    assert alone is not None and whole is not None and str(alone) == str(whole)
    return alone.kind, alone.item.split(" of ")[0]


def test_an_intact_log_is_counted(subjects):
    report = verify_chains()
    assert str(report) == "verified: 18 events of 3 subjects, 3 artifacts, 3 openings"
    one = verify_subject_chain(TENANT, "deed", subjects[1].id)
    assert (one.ok, one.events, one.subjects, one.head.seq) == (True, 6, 1, 6)


def test_an_empty_log_is_intact():
    assert verify_chains().ok and verify_subject_chain(TENANT, "deed", uuid7()).events == 0


@pytest.mark.parametrize("seq", range(1, LENGTH + 1))
def test_edited_bytes_are_named(subjects, harm, seq):
    harm(subjects[1], seq).update(body=b'{"v":1}')
    assert broken_of(subjects[1]) == ("edited", f"event #{seq}")


@pytest.mark.parametrize("seq", range(1, LENGTH))
def test_an_event_that_was_rewritten_with_its_hash_is_named(subjects, harm, seq):
    body = bytes(harm(subjects[1], seq).get().body).replace(b'"n":', b'"n":9')
    harm(subjects[1], seq).update(body=body, hash=hashlib.sha256(body).digest())
    assert broken_of(subjects[1]) == ("edited", f"event #{seq}")


@pytest.mark.parametrize("seq", range(1, LENGTH))
def test_a_deleted_event_is_named(subjects, harm, seq):
    harm(subjects[1], seq).delete()
    assert broken_of(subjects[1]) == ("missing", f"event #{seq}")


@pytest.mark.parametrize("seq", range(1, LENGTH))
def test_swapped_events_are_named(subjects, harm, seq):
    harm(subjects[1], seq).update(seq=100)
    harm(subjects[1], seq + 1).update(seq=seq)
    harm(subjects[1], 100).update(seq=seq + 1)
    assert broken_of(subjects[1]) == ("reordered", f"event #{seq}")


@pytest.mark.parametrize("column", ["verb", "outcome", "actor", "correlation_id", "at"])
def test_a_column_that_says_something_else_is_named(subjects, harm, column):
    at = harm(subjects[1], 2).get().at
    harm(subjects[1], 2).update(**{column: at + timedelta(microseconds=1) if column == "at" else "x"})
    assert broken_of(subjects[1]) == ("column_mismatch", "event #2")


def test_an_event_moved_to_another_subject_or_tenant_is_found(subjects, harm):
    harm(subjects[0], 6).update(subject_id=subjects[1].id, seq=7)
    assert verify_chains().broken.kind == "reordered"
    harm(subjects[1], 7).update(subject_id=subjects[0].id, seq=6)
    assert verify_chains().ok
    harm(subjects[0], 3).update(tenant=uuid7())
    assert verify_chains().broken.kind == "column_mismatch"
    assert verify_subject_chain(TENANT, "deed", subjects[0].id).broken.kind == "missing"


def test_a_lost_chunk_of_an_artifact_is_named(subjects, harm):
    lost = Artifact.objects.filter(n=1).first()
    Artifact.objects.filter(pk=lost.pk).delete()
    broken = verify_chains().broken
    assert (broken.kind, broken.item) == ("artifact_missing", f"artifact {lost.digest}")
    assert "event #4" in broken.detail and "chunk 1" in broken.detail


def test_a_changed_artifact_is_named(subjects, harm):
    row = Artifact.objects.filter(n=0).last()
    Artifact.objects.filter(pk=row.pk).update(data=b"x" * len(bytes(row.data)))
    broken = verify_chains().broken
    assert (broken.kind, broken.item) == ("artifact_edited", f"artifact {row.digest}")


@pytest.mark.parametrize("change", [{"value": b"other words"}, {"salt": b"s" * 32}, {"name": "remark"}])
def test_a_changed_private_value_is_named(subjects, change):
    PrivateValue.objects.filter(subject_id=subjects[1].id).update(**change)
    kind, item = broken_of(subjects[1])
    assert (kind, item) == ("opening_mismatch", "opening")


def test_an_erased_private_value_breaks_nothing(subjects):
    PrivateValue.objects.update(salt=None, value=None)
    assert verify_chains().ok and verify_chains().openings == 0


def test_what_was_cut_off_the_end_shows_against_kept_heads(subjects, harm, tmp_path, capsys):
    kept = tmp_path / "heads"
    call_command("verify_audit", save_heads=kept)
    record(an_entry(subjects[0]))
    call_command("verify_audit", "--heads", str(kept))
    harm(subjects[1], 6).delete()
    assert verify_chains().ok
    with pytest.raises(SystemExit):
        call_command("verify_audit", "--heads", str(kept))
    assert f"missing: event #6 of deed {subjects[1].id}" in capsys.readouterr().out
    Event.objects.filter(subject_id=subjects[1].id).delete()
    with pytest.raises(SystemExit):
        call_command("verify_audit", "--heads", str(kept))
    call_command("verify_audit", "--heads", str(kept), "--subject", str(subjects[0].id))


def test_a_chain_that_was_replaced_shows_against_kept_heads(subjects, harm):
    kept = {}
    verify_chains(on_head=kept.__setitem__)
    Event.objects.filter(subject_id=subjects[1].id).delete()
    PrivateValue.objects.filter(subject_id=subjects[1].id).delete()
    for _ in range(8):
        record(an_entry(subjects[1], "forged"))
    assert verify_chains().ok
    assert verify_chains(known_heads=kept).broken.item == f"event #6 of deed {subjects[1].id}"


def test_one_tenant_can_be_verified_alone(subjects, harm):
    other = a_subject()
    record(an_entry(other, tenant=uuid7()))
    harm(other, 1).update(verb="x")
    assert verify_chains(tenant=TENANT).ok and verify_chains(subject_id=subjects[0].id).ok
    kept = {}
    verify_chains(tenant=TENANT, on_head=kept.__setitem__)
    assert set(kept) == {subject.id for subject in subjects}
    assert verify_chains(tenant=TENANT, known_heads={**kept, other.id: kept[subjects[0].id]}).ok
    assert not verify_chains().ok


def test_the_command_names_the_first_broken_item_with_status_one(subjects, harm, capsys):
    call_command("verify_audit")
    assert capsys.readouterr().out.startswith("verified: 18 events of 3 subjects")
    harm(subjects[2], 3).update(body=b"{}")
    with pytest.raises(SystemExit) as stopped:
        call_command("verify_audit", "--tenant", str(TENANT))
    assert stopped.value.code == 1
    assert capsys.readouterr().out.startswith(f"BROKEN edited: event #3 of deed {subjects[2].id}")
    call_command("verify_audit", "--subject", str(subjects[0].id))
    with pytest.raises(CommandError, match="has no events about"):
        call_command("verify_audit", "--subject", str(uuid7()))


def test_a_file_that_holds_no_heads_is_refused(tmp_path):
    (tmp_path / "heads").write_text("hello\n")
    with pytest.raises(CommandError, match="line 1"):
        call_command("verify_audit", "--heads", str(tmp_path / "heads"))


def test_a_long_chain_takes_few_queries_beyond_its_batches(monkeypatch):
    monkeypatch.setattr(chain, "BATCH", 10)
    subject = a_subject()
    digest = artifacts.store_artifact(TENANT, b"same", "text/plain")
    for _ in range(25):
        record(an_entry(subject, private={"comment": "x"}, artifacts=(digest,)))
    with CaptureQueriesContext(connection) as queries:
        report = verify_subject_chain(TENANT, subject.kind, subject.id)
    assert (report.ok, report.events, report.openings, report.artifacts) == (True, 25, 25, 1)
    assert len(queries) <= 8
