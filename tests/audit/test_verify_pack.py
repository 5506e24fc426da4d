"""The stand-alone verifier: whatever is changed in a pack is found, named, and said with an exit status."""

import base64
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from audit import verify
from audit.evidence.pack import PackRequest
from audit.log.artifacts import store_artifact
from audit.log.events import record
from audit.models import Event
from audit.models.seals import SignedTreeHead
from audit.seals.keys import signing_key
from audit.verify import Broken, ExternalHeads
from audit.verify.__main__ import main
from audit.verify.events import canonical_bytes
from tests.audit.cast import TENANT, a_subject, an_entry
from tests.audit.packs import (
    Stranger,
    a_story,
    encoded,
    members_of,
    our_key,
    packed,
    signed_anew,
    statement_of,
    verdict,
)

REPOSITORY = Path(verify.__file__).resolve().parents[2]


@pytest.fixture
def subject(db):
    return a_story()


@pytest.fixture
def pack(subject):
    return packed(subject)


def refusal(data, *keys, **options):
    with pytest.raises(Broken) as caught:
        verdict(data, *keys, **options)
    return caught.value.kind


def flips_of(pack):
    for n in range(len(pack)):
        yield pack[:n] + bytes([pack[n] ^ (1 << n % 8)]) + pack[n + 1 :]


def test_every_flipped_byte_is_refused(db):
    subject = a_subject("deed")
    record(
        an_entry(
            subject,
            "approval.granted",
            private={"comment": "Fine"},
            artifacts=(store_artifact(TENANT, b"x", "text/plain"),),
        )
    )
    pack = packed(subject)
    assert verdict(pack).seq == 1
    for flipped in flips_of(pack):
        with pytest.raises(Broken):
            verdict(flipped)


@pytest.mark.soak
def test_every_flipped_byte_of_a_pack_with_its_report_is_refused(subject):
    for flipped in flips_of(packed(subject, PackRequest())):
        with pytest.raises(Broken):
            verdict(flipped)


def test_every_truncation_and_any_addition_is_refused(pack):
    for n in (*range(0, len(pack), 7), *range(len(pack) - 300, len(pack))):
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
    envelope = {"payload": "", "payloadType": "", "signatures": []}
    for first in (
        b"",
        b"null",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'{"files":' + b"[" * 50_000,
        b'{"files":[],"head":{"hash":1}}',
        b'{"files":[{}]}',
        b"\xff",
        canonical_bytes(envelope),
        canonical_bytes({**envelope, "payload": "bnVsbA=="}),
        canonical_bytes({**envelope, "signatures": [1]}),
        b'{"format":"interlock.evidence/1","head":{"hash":""},"files":[]}',
    ):
        with pytest.raises(Broken):
            verdict(encoded([("attestation.json", first)]))


def test_mutated_packs_are_refused_without_a_traceback(pack):
    chance = random.Random(11)
    for _ in range(300):
        data = bytearray(pack)
        for _ in range(chance.randrange(1, 6)):
            a, b = sorted(chance.randrange(len(data)) for _ in range(2))
            data[a : a + (b - a) % 50] = chance.choice([b"", chance.randbytes(3), bytes(data[b : b + 40])])
        if bytes(data) != pack:
            with pytest.raises(Broken):
                verdict(bytes(data))


def test_swapped_doubled_dropped_and_added_files_are_refused(pack):
    members = list(members_of(pack).items())
    for a in range(len(members)):
        others = [encoded([*members[: a + 1], *members[a:]]), encoded([*members[:a], *members[a + 1 :]])]
        for b in range(a):
            swapped = list(members)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            others.append(encoded(swapped))
        for other in others:
            with pytest.raises(Broken):
                verdict(other)
    with pytest.raises(Broken):
        verdict(encoded([*members, ("setup.exe", b"MZ")]))
    assert verdict(encoded(members))


def test_a_stranger_who_signs_it_anew_is_found_out_by_whoever_has_the_key(pack):
    stranger, members = Stranger(), members_of(pack)
    members["keys.json"] = canonical_bytes([*json.loads(members["keys.json"]), stranger.listed()])
    forged = signed_anew(members, stranger.signer)
    assert "signed by an unknown key" in str(verdict(forged))
    assert refusal(forged, our_key()) == "unknown_signer"
    assert verdict(forged, stranger.key).is_trusted


def test_a_key_with_our_id_is_not_our_key(pack):
    """Ids are four bytes, so somebody can find a key of their own with ours."""
    stranger, members = Stranger(), members_of(pack)
    members["keys.json"] = canonical_bytes([stranger.listed()])
    members["head.txt"], members["proofs.jsonl"] = b"", b""
    forged = signed_anew(members, stranger.signer, sealed=0)
    same_id = type("SameId", (verify.Verifier,), {"id": stranger.key.id})
    impostor = same_id(our_key().name, our_key().public)
    assert refusal(forged, impostor) == "bad_signature"


def test_signatures_that_are_dropped_doubled_or_swapped_are_refused(pack):
    members, key, stranger = members_of(pack), signing_key(TENANT), Stranger()
    members["keys.json"] = canonical_bytes([*json.loads(members["keys.json"]), stranger.listed()])
    both = signed_anew(members, (key.key_id, key.sign), stranger.signer)
    assert len(verdict(both, our_key(), stranger.key, least=2).signers) == 2
    assert refusal(both, our_key(), least=2) == "unknown_signer"
    files = members_of(both)
    envelope = json.loads(files["attestation.json"])
    one, two = envelope["signatures"]
    for signatures in ([], [one], [two], [one, one], [one, one, two], [two, one], [{**one, "sig": two["sig"]}, two]):
        files["attestation.json"] = canonical_bytes({**envelope, "signatures": signatures})
        assert refusal(encoded(list(files.items()))) == "bad_signature", signatures


def test_one_key_under_two_names_counts_once(pack):
    members = members_of(pack)
    one, two = Stranger(name="a/a"), Stranger(name="b/b")
    members["keys.json"] = canonical_bytes([*json.loads(members["keys.json"]), one.listed(), two.listed()])
    forged = signed_anew(members, one.signer, two.signer)
    assert refusal(forged, one.key, two.key, least=2) == "bad_signature"


def test_a_key_that_was_revoked_before_signs_no_more(pack):
    members = members_of(pack)
    (key,) = json.loads(members["keys.json"])
    members["keys.json"] = canonical_bytes([{**key, "revoked_at": "2026-01-01T00:00:00.000000Z"}])
    assert refusal(signed_anew(members), our_key()) == "bad_signature"
    members["keys.json"] = canonical_bytes([{**key, "revoked_at": "2999-01-01T00:00:00.000000Z"}])
    assert verdict(signed_anew(members), our_key()).is_trusted


def edit_line(name, n, old, new):
    def change(members):
        lines = members[name].split(b"\n")
        assert old in lines[n]
        lines[n] = lines[n].replace(old, new)
        members[name] = b"\n".join(lines)

    return change


def drop_line(name, n):
    def change(members):
        lines = members[name].split(b"\n")
        members[name] = b"\n".join(lines[:n] + lines[n + 1 :])

    return change


def swap_lines(members):
    lines = members["events.jsonl"].split(b"\n")
    lines[1], lines[2] = lines[2], lines[1]
    members["events.jsonl"] = b"\n".join(lines)


def an_artifact(members):
    return next(name for name in members if name.endswith(".txt") and name.startswith("artifacts/"))


def edit_artifact(members):
    members[an_artifact(members)] = b"step 1\nstep X\n"


def drop_artifact(members):
    del members[an_artifact(members)]


def add_artifact(members):
    members[f"artifacts/{hashlib.sha256(b'x').hexdigest()}.txt"] = b"x"
    first, rest = list(members.items())[:9], sorted(list(members.items())[9:])
    members.clear()
    members.update([*first, *rest])


def drop_head(members):
    members["head.txt"] = b""


def edit_head(members):
    members["head.txt"] = members["head.txt"].replace(b"\nnumber ", b"\nNumber ")


def other_head(members):
    """A head that another signed over another tree."""
    stranger = Stranger()
    text = f"{stranger.verifier.name}\n6\n{base64.b64encode(bytes(32)).decode()}\n"
    name, key_id = stranger.verifier.name, stranger.verifier.key_id
    line = base64.b64encode(key_id + stranger.private.sign(text.encode())).decode()
    members["head.txt"] = f"{text}\n— {name} {line}\n".encode()


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
        (drop_line("openings.jsonl", 1), "edited", "decisions.json"),
        (edit_line("proofs.jsonl", 1, b'"log_index":', b'"log_index":4'), "bad_proof", "proof of event #2"),
        (drop_line("proofs.jsonl", 4), "bad_proof", "proofs.jsonl"),
        (drop_head, "bad_proof", "proofs.jsonl"),
        (edit_head, "bad_signature", "head.txt"),
        (other_head, "bad_signature", "head.txt"),
        (edit_line("decisions.json", 10, b"approver", b"security"), "edited", "decisions.json"),
        (edit_line("timeline.md", 10, b"refused", b"granted"), "edited", "timeline.md"),
        (lambda members: members.update({"setup.exe": b"MZ"}), "not_canonical", "attestation.json"),
    ],
)
def test_even_whoever_holds_the_key_cannot_make_it_say_something_else(pack, change, kind, item):
    members = members_of(pack)
    change(members)
    with pytest.raises(Broken) as caught:
        verdict(signed_anew(members), our_key())
    assert (caught.value.kind, caught.value.item[: len(item)]) == (kind, item)


@pytest.mark.parametrize(
    "about",
    [
        {"head": {"seq": 4, "hash": "0" * 64}},
        {"tenant": "t"},
        {"subject": {"kind": "deed", "id": "x"}},
        {"sealed": 4},
        {"created_at": "2026-01-01T00:00:00.000000Z"},
        {"format": "interlock.evidence/3"},
        {"withheld": {"artifacts": ["0" * 64], "private": []}},
        {"withheld": {}},
        {"audience": 1},
        {"more": 1},
    ],
)
def test_the_statement_says_what_the_events_say(pack, about):
    with pytest.raises(Broken):
        verdict(signed_anew(members_of(pack), **about), our_key())


def test_withheld_artifacts_are_named_in_the_statement(pack):
    members = members_of(pack)
    name = an_artifact(members)
    del members[name]
    kept = {**statement_of(members)["predicate"]["withheld"], "artifacts": [name[10:74]]}
    assert verdict(signed_anew(members, withheld=kept), our_key()).withheld == 1


def test_kept_heads_must_agree(subject, pack):
    head = SignedTreeHead.objects.filter(tenant=TENANT).order_by("-number").first()
    last = bytes(Event.objects.get(subject_id=subject.id, seq=5).hash).hex()
    kept = ExternalHeads.read(f"{head.note}\n{subject.id} 5 {last}\n{head.note}")
    assert verdict(pack, external_heads=kept).is_head_kept
    assert not verdict(
        pack, external_heads=ExternalHeads.read(f"{subject.id} 3 {'0' * 64}\n".replace(str(subject.id), "0" * 36))
    ).is_head_kept
    other = head.note.replace(head.note.split("\n")[2], base64.b64encode(bytes(32)).decode())
    assert refusal(pack, external_heads=ExternalHeads.read(other)) == "forked"
    older = head.note.replace(f"\n{head.size}\n", f"\n{head.size + 1}\n")
    assert refusal(pack, external_heads=ExternalHeads.read(older)) == "head_unknown"
    assert refusal(pack, external_heads=ExternalHeads.read(f"{subject.id} 5 {'0' * 64}")) == "forked"
    assert refusal(pack, external_heads=ExternalHeads.read(f"{subject.id} 6 {'0' * 64}")) == "missing"
    with pytest.raises(Broken):
        ExternalHeads.read("nothing")


def run_alone(*arguments, site=True):
    """The verifier in a Python of its own, without Django's settings; without `site`, without any package."""
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import runpy; sys.argv = {['verify', *arguments]!r}; "
        "sys.modules['django'] = None; runpy.run_module('audit.verify', run_name='__main__')"
    )
    flags = ["-I"] if site else ["-I", "-S"]
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)


def test_the_verifier_runs_without_django(pack, tmp_path):
    file = tmp_path / "pack.zip"
    file.write_bytes(pack)
    good = run_alone(str(file), "--key", signing_key(TENANT).vkey, "--json")
    assert (good.returncode, good.stderr) == (0, "") and json.loads(good.stdout)["is_trusted"]
    without = run_alone(str(file), site=False)
    assert without.returncode == 2 and "cryptography" in without.stderr


def test_it_says_so_in_words_and_by_its_status(pack, tmp_path, capsys):
    file, keys, heads = tmp_path / "pack.zip", tmp_path / "keys", tmp_path / "heads"
    file.write_bytes(pack)
    keys.write_text(f"# ours\n{signing_key(TENANT).vkey}\n")
    heads.write_text(SignedTreeHead.objects.filter(tenant=TENANT).order_by("-number").first().note)
    assert main([str(file)]) == 0
    assert "pass it with --key" in capsys.readouterr().out
    assert main([str(file), "--key", str(keys), "--head", str(heads)]) == 0
    assert capsys.readouterr().out.startswith("verified, signed by key ")
    assert main([str(file), "--key", Stranger().verifier.vkey]) == 1
    assert "not the key that you trust" in capsys.readouterr().out
    assert main([str(file), "--key", "nonsense+1+2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["kind"] == "bad_key"
    file.write_bytes(pack[:-1])
    assert main([str(file)]) == 1 and "BROKEN truncated: ZIP directory" in capsys.readouterr().out
    assert main([str(tmp_path / "none")]) == 2 and "No such file" in capsys.readouterr().err


def test_the_command_says_the_same_with_the_same_status(pack, tmp_path, capsys):
    file = tmp_path / "pack.zip"
    file.write_bytes(pack)
    for arguments, code, words in (
        ([str(file)], 0, "signed by an unknown key"),
        ([str(file), "--key", signing_key(TENANT).vkey], 0, "verified, signed by key"),
        ([str(tmp_path / "none")], 2, ""),
    ):
        with pytest.raises(SystemExit) as stopped:
            call_command("verify_evidence", *arguments)
        assert stopped.value.code == code and words in capsys.readouterr().out
