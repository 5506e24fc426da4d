"""Evidence packs: complete, the same bytes every time, and refused after any change."""

import hashlib
import io
import json
import random
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from audit import append_only, artifacts, verify
from audit.artifacts import CHUNK_BYTES
from audit.errors import NotFound
from audit.events import record
from audit.evidence.pack import EvidenceBroken, build_pack, plan_pack
from audit.ids import uuid7
from audit.models import Artifact, Event, PrivateValue
from audit.verify import Broken, verify_file
from tests.audit.cast import TENANT, a_subject, an_entry

REPOSITORY = Path(verify.__file__).resolve().parents[1]


def a_story(log=b"step 1\nstep 2\n"):
    """An action that was planned, decided on and run: four events, two artifacts, one comment."""
    subject = a_subject("deed")
    plan = artifacts.store(TENANT, b'{"steps":[]}', "application/json")
    written = artifacts.store(TENANT, log, "text/plain; charset=utf-8")
    record(an_entry(subject, "action.submitted", private={"reason": "Grüße | `rm -rf`\x1b[2J"}))
    record(an_entry(subject, "preflight.planned", facts={"digest": "d" * 64, "n": 3}, artifacts=(plan,)))
    record(an_entry(subject, "approval.granted", facts={"role": "approver"}, private={"comment": "Fine by me, Zoë"}))
    record(an_entry(subject, "approval.granted", outcome="refused", facts={"why": "not entitled"}))
    record(an_entry(subject, "action.complete", artifacts=(written, plan)))
    return subject


@pytest.fixture
def subject(db):
    return a_story()


@pytest.fixture
def pack(subject):
    return b"".join(build_pack(TENANT, subject))


def verdict(data):
    return verify_file(io.BytesIO(data))


def refusal(data):
    with pytest.raises(Broken) as caught:
        verdict(data)
    return caught.value.kind


def rewritten(pack, change):
    """The members of the pack after `change(members)`, in the canonical encoding; the manifest follows its files."""
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    return encoded(list(members.items()))


def encoded(members):
    out, directory = b"", b""
    for name, data in members:
        crc = zlib.crc32(data)
        directory += verify.directory_entry(name, crc, len(data), len(out))
        out += verify.local_header(name, crc, len(data)) + data
    return out + directory + verify.end_record(len(members), len(directory), len(out))


def with_manifest(members):
    """Make the manifest say what the files are, as whoever forges a pack would."""
    manifest = json.loads(members["manifest.json"])
    manifest["files"] = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in members.items()
        if name != "manifest.json"
    ]
    members["manifest.json"] = verify.plain(manifest)


def test_a_pack_verifies_and_says_what_it_holds(subject, pack):
    assert str(verdict(pack)) == (f"intact, not authenticated: 5 events of deed {subject.id} up to #5, 2 artifacts")


def test_ordinary_tools_read_it_and_find_everything_that_was_recorded(subject, pack):
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        names = archive.namelist()
        files = {name: archive.read(name) for name in names}
    stored = Event.objects.filter(subject_id=subject.id).order_by("seq")
    assert files["events.jsonl"] == b"".join(bytes(event.body) + b"\n" for event in stored)
    assert names[:5] == ["manifest.json", "events.jsonl", "openings.jsonl", "decisions.json", "timeline.md"]
    assert [name.partition(".")[2] for name in names[5:]].sort() == ["json", "txt"].sort()
    manifest = json.loads(files["manifest.json"])
    assert manifest["head"] == {"seq": 5, "hash": bytes(stored[4].hash).hex()}
    assert manifest["status"] == "intact, not authenticated" and manifest["format"] == "interlock.evidence/1"
    openings = [json.loads(line) for line in files["openings.jsonl"].splitlines()]
    assert [(o["seq"], o["name"]) for o in openings] == [(1, "reason"), (3, "comment")]
    decisions = json.loads(files["decisions.json"])
    assert [(d["seq"], d["outcome"], d["facts"]) for d in decisions] == [
        (3, "ok", {"role": "approver", "comment": {"private": "Fine by me, Zoë"}}),
        (4, "refused", {"why": "not entitled"}),
    ]
    timeline = files["timeline.md"].decode("ascii")
    assert "preflight.planned" in timeline and "\x1b" not in timeline and "Zo" not in timeline


def test_the_same_events_make_the_same_bytes_of_the_promised_size(subject, pack):
    again = plan_pack(TENANT, subject)
    assert b"".join(again) == pack and again.size == len(pack)


def test_every_flipped_byte_is_refused(pack):
    for n in range(len(pack)):
        flipped = pack[:n] + bytes([pack[n] ^ (1 << n % 8)]) + pack[n + 1 :]
        with pytest.raises(Broken):
            verdict(flipped)


def test_every_truncation_and_any_addition_is_refused(pack):
    for n in range(len(pack)):
        with pytest.raises(Broken):
            verdict(pack[:n])
    for more in (b"\0", b"PK\5\6", pack):
        assert refusal(pack + more) == "not_canonical"
    assert refusal(b"\0" + pack) == "not_a_pack"


def test_garbage_is_refused_without_a_traceback():
    chance = random.Random(7)
    for size in (0, 1, 4, 30, 43, 200, 5000):
        with pytest.raises(Broken):
            verdict(chance.randbytes(size))
    deep = b"[" * 100_000
    bomb = b'{"files":' + b"[" * 50_000
    for manifest in (
        b"",
        b"null",
        b"{}",
        b"[]",
        deep,
        bomb,
        b'{"files":[],"head":{"hash":1}}',
        b'{"files":[{}]}',
        b"\xff",
        b'{"format":"interlock.evidence/1","head":{"hash":""},"files":[]}',
    ):
        with pytest.raises(Broken):
            verdict(encoded([("manifest.json", manifest)]))


def test_mutated_packs_are_refused_without_a_traceback(pack):
    chance = random.Random(11)
    for _ in range(400):
        data = bytearray(pack)
        for _ in range(chance.randrange(1, 6)):
            a, b = sorted(chance.randrange(len(data)) for _ in range(2))
            data[a : a + (b - a) % 50] = chance.choice([b"", chance.randbytes(3), bytes(data[b : b + 40])])
        if bytes(data) != pack:
            with pytest.raises(Broken):
                verdict(bytes(data))


def test_swapped_and_doubled_members_are_refused(pack):
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for a in range(len(members)):
        for b in range(a):
            swapped = list(members)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            with pytest.raises(Broken):
                verdict(encoded(swapped))
        with pytest.raises(Broken):
            verdict(encoded([*members[: a + 1], *members[a:]]))
    assert verdict(encoded(members))


def edit_line(name, n, old, new):
    def change(members):
        lines = members[name].split(b"\n")
        assert old in lines[n]
        lines[n] = lines[n].replace(old, new)
        members[name] = b"\n".join(lines)
        with_manifest(members)

    return change


def drop_line(name, n):
    def change(members):
        lines = members[name].split(b"\n")
        members[name] = b"\n".join(lines[:n] + lines[n + 1 :])
        with_manifest(members)

    return change


def swap_lines(members):
    lines = members["events.jsonl"].split(b"\n")
    lines[1], lines[2] = lines[2], lines[1]
    members["events.jsonl"] = b"\n".join(lines)
    with_manifest(members)


def an_artifact(members):
    return next(name for name in members if name.endswith(".txt"))


def edit_artifact(members):
    members[an_artifact(members)] = b"step 1\nstep X\n"
    with_manifest(members)


def drop_artifact(members):
    del members[an_artifact(members)]
    with_manifest(members)


def add_artifact(members):
    members[f"artifacts/{hashlib.sha256(b'x').hexdigest()}.txt"] = b"x"
    first, rest = list(members.items())[:5], sorted(list(members.items())[5:])
    members.clear()
    members.update([*first, *rest])
    with_manifest(members)


def edit_timeline(members):
    members["timeline.md"] = members["timeline.md"].replace(b"refused", b"granted")
    with_manifest(members)


def add_unknown_file(members):
    members["setup.exe"] = b"MZ"
    with_manifest(members)


@pytest.mark.parametrize(
    ("change", "kind", "item"),
    [
        (edit_line("events.jsonl", 1, b'"n":3', b'"n":4'), "edited", "event #2"),
        (edit_line("events.jsonl", 0, b"submitted", b"committed"), "edited", "event #1"),
        (edit_line("events.jsonl", 4, b"complete", b"compleTe"), "edited", "event #5"),
        (edit_line("events.jsonl", 2, b'"seq":3', b'"seq":9'), "edited", "event #3"),
        (edit_line("events.jsonl", 2, b"{", b"["), "edited", "event #3"),
        (drop_line("events.jsonl", 2), "missing", "event #3"),
        (drop_line("events.jsonl", 4), "edited", "event #4"),
        (swap_lines, "reordered", "event #2"),
        (edit_artifact, "artifact_edited", "artifacts/"),
        (drop_artifact, "artifact_missing", "artifact "),
        (add_artifact, "artifact_unnamed", "artifact "),
        (edit_line("openings.jsonl", 1, b"Fine", b"Fire"), "opening_mismatch", "opening of 'comment' in event #3"),
        (
            edit_line("openings.jsonl", 1, b"comment", b"remarks"),
            "opening_mismatch",
            "opening of 'remarks' in event #3",
        ),
        (edit_line("decisions.json", 9, b"approver", b"security"), "edited", "decisions.json"),
        (edit_timeline, "edited", "timeline.md"),
        (add_unknown_file, "not_canonical", "manifest.json"),
    ],
)
def test_a_forger_who_rewrites_the_manifest_too_is_still_found_out(pack, change, kind, item):
    with pytest.raises(Broken) as caught:
        verdict(rewritten(pack, change))
    assert (caught.value.kind, caught.value.item[: len(item)]) == (kind, item)


def test_an_opening_may_be_left_out_but_then_the_decisions_say_so(subject, pack):
    PrivateValue.objects.filter(subject_id=subject.id, name="comment").update(salt=None, value=None)
    erased = b"".join(build_pack(TENANT, subject))
    assert erased != pack and verdict(erased).seq == 5
    assert "Zoë".encode() not in erased and b"Fine by me" not in erased
    with zipfile.ZipFile(io.BytesIO(erased)) as archive:
        assert json.loads(archive.read("decisions.json"))[0]["facts"]["comment"] == {"private": None}


def test_extra_files_are_covered_by_the_manifest(subject):
    pack = b"".join(build_pack(TENANT, subject, {"plan.md": b"# The plan\n"}))
    assert verdict(pack).seq == 5
    at = pack.index(b"# The plan")
    assert refusal(pack[:at] + b"?" + pack[at + 1 :]) == "edited"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "é.md"])
def test_extra_files_have_flat_names(subject, name):
    with pytest.raises(ValueError, match="flat"):
        build_pack(TENANT, subject, {name: b""})


def test_a_large_artifact_is_streamed_in_chunks(db):
    subject = a_story(log=bytes(random.Random(1).randbytes(3 * CHUNK_BYTES + 17)))
    pieces = list(build_pack(TENANT, subject))
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert verdict(b"".join(pieces)).artifacts == 2


def test_there_is_no_pack_of_an_unknown_subject_or_of_another_tenants(subject):
    with pytest.raises(NotFound):
        build_pack(TENANT, a_subject("deed"))
    with pytest.raises(NotFound):
        build_pack(uuid7(), subject)


@pytest.mark.parametrize("harm", ["event", "artifact", "artifact bytes", "opening"])
def test_no_pack_is_made_of_evidence_that_is_not_intact(subject, harm):
    append_only.unprotect(connection)
    if harm == "event":
        Event.objects.filter(subject_id=subject.id, seq=2).update(body=b"{}")
    elif harm == "artifact":
        Artifact.objects.filter(media_type="application/json").delete()
    elif harm == "artifact bytes":
        Artifact.objects.filter(media_type="application/json").update(data=b"{}")
    else:
        PrivateValue.objects.filter(subject_id=subject.id, seq=3).update(value=b"No")
    append_only.protect(connection)
    with pytest.raises(EvidenceBroken, match="first thing wrong"):
        build_pack(TENANT, subject)


def test_the_verifier_runs_without_django_or_any_package(pack, tmp_path):
    file = tmp_path / "pack.zip"
    file.write_bytes(pack)
    run = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import runpy; "
        f"sys.argv = ['verify', {str(file)!r}]; runpy.run_module('audit.verify', run_name='__main__')",
    ]
    good = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "") and good.stdout.startswith("intact, not authenticated: 5 events")
    file.write_bytes(pack[:-1])
    bad = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr) == (1, "") and bad.stdout.startswith("BROKEN truncated")


def test_the_command_says_the_same_with_the_same_status(pack, tmp_path, capsys):
    file = tmp_path / "pack.zip"
    for data, code, words in (
        (pack, 0, "intact, not authenticated"),
        (pack[:-1], 1, "BROKEN truncated: ZIP directory"),
    ):
        file.write_bytes(data)
        with pytest.raises(SystemExit) as stopped:
            call_command("verify_evidence", str(file))
        assert stopped.value.code == code and words in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        call_command("verify_evidence", str(tmp_path / "none"))
    assert stopped.value.code == 1 and "No such file" in capsys.readouterr().err
