"""verify_audit over a sealed log: four depths, incremental, against heads kept elsewhere."""

import pytest
from django.core.management import CommandError, call_command

from audit.database.clock import uuid7
from audit.log.events import record
from audit.models import Event
from audit.models.seals import SignedTreeHead
from audit.seals import keys
from audit.seals.sealer import seal_all
from audit.seals.tree import newest_head
from audit.verification.log import read_external_heads, split_notes
from audit.verify import signatures
from tests.audit.cast import TENANT, a_subject, an_entry
from tests.audit.seals.tampering import a_log, at, cut_back, harmed

pytestmark = pytest.mark.django_db


@pytest.fixture
def log():
    return a_log()


@pytest.fixture
def run(capsys):
    def command(*arguments):
        call_command("verify_audit", *map(str, arguments))
        return capsys.readouterr().out

    return command


def broken(run, capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 1
    return capsys.readouterr().out


def test_everything_is_verified_twice_over(log, run):
    out = run()
    assert out.splitlines() == [
        "verified: 25 events of 4 subjects, 0 artifacts, 24 openings",
        f"sealed: 25 entries under {newest_head(TENANT).number} heads, in 1 logs",
    ]
    record(an_entry(a_subject(), tenant=uuid7()))
    seal_all()
    assert "in 2 logs" in run() and "in 1 logs" in run("--tenant", TENANT)


def test_a_range_a_time_and_what_is_new(log, run, capsys):
    assert run("--range", "3:9", "--tenant", TENANT).startswith("sealed: ")
    second = SignedTreeHead.objects.get(number=2)
    assert "from entry" in run("--since", second.at.isoformat())
    run()
    record(an_entry(log.subjects[0]))
    seal_all()
    assert run("--incremental") == "sealed: 1 entries from entry 25 under 1 heads, in 1 logs\n"
    with pytest.raises(CommandError, match="0:1000"):
        run("--range", "5")


def test_the_kind_of_break_is_named(log, run, capsys):
    for subject in log.subjects[:2]:
        with harmed():
            Event.objects.filter(subject_id=subject.id, seq=4).delete()
            wanted = f"BROKEN deleted: event #4 of deed {subject.id}"
            assert broken(run, capsys).startswith(wanted)
            assert broken(run, capsys, "--subject", subject.id).startswith(wanted)
            assert run("--subject", log.subjects[2].id).startswith("verified: 8 events")


def test_a_chain_that_is_not_sealed_yet_is_verified_all_the_same(log, run, capsys):
    record(an_entry(log.subjects[0]))
    with harmed():
        Event.objects.filter(pk=at(log.subjects[0], 9).pk).update(actor="other")
        assert broken(run, capsys).startswith("BROKEN column_mismatch: event #9 of deed")


def test_heads_kept_elsewhere_find_a_tail_that_was_cut_off(log, run, capsys, tmp_path):
    file = tmp_path / "heads"
    file.write_text("\n".join(SignedTreeHead.objects.order_by("number").values_list("note", flat=True)))
    assert len(list(split_notes(file.read_text()))) == newest_head(TENANT).number
    run("--head", file)
    with harmed():
        cut_back(2)
        run()
        assert broken(run, capsys, "--head", file).startswith("BROKEN truncated: entry ")
    file.write_text(newest_head(TENANT).note.replace("\n25\n", "\n24\n"))
    with pytest.raises(CommandError, match="not of this text"):
        run("--head", file)
    file.write_text("hello\n")
    with pytest.raises(CommandError, match="no tree head"):
        run("--head", file)


def test_a_head_of_another_log_or_key_is_none_of_this_one(log):
    other = keys.signing_key(uuid7())
    forged = other.sign_note(signatures.TreeHead(keys.origin_of(TENANT), 1, b"r" * 32, ()).text())
    for text in (forged, forged.replace("interlock/", "else/"), ""):
        with pytest.raises(signatures.InvalidNote):
            read_external_heads(text)
