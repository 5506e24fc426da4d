"""Building packs: complete, the same bytes every time, for whom they are meant, and never of broken evidence."""

import hashlib
import io
import json
import random
import zipfile

import pikepdf
import pytest
from django.db import connection

from audit.database import guards
from audit.database.clock import uuid7
from audit.errors import NotFound
from audit.evidence.contents import Contribution, _contributors, redaction_for, register_contributor
from audit.evidence.pack import EvidenceBroken, PackRequest, plan_pack
from audit.log.artifacts import CHUNK_BYTES
from audit.models import Artifact, Event, PrivateValue
from audit.models.auditor import Audience
from audit.models.seals import SignedTreeHead
from audit.seals.sealer import seal
from audit.verification.chain import verify_chains
from tests.audit.cast import TENANT, a_subject
from tests.audit.packs import HOSTILE, LEAN, a_story, members_of, our_key, packed, statement_of, verdict


@pytest.fixture
def subject(db):
    return a_story()


def test_a_pack_verifies_and_says_what_it_holds(subject):
    pack = packed(subject)
    what = f"5 events of deed {subject.id} up to #5, 3 artifacts; in the signed log up to #5, tree head of"
    assert str(verdict(pack)).startswith(f"intact, signed by an unknown key, {our_key().id}: {what}")
    assert str(verdict(pack, our_key())).startswith(f"verified, signed by key {our_key().id}: {what}")


def test_ordinary_tools_read_it_and_find_everything_that_was_recorded(subject):
    pack = packed(subject, PackRequest())
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    files = members_of(pack)
    stored = list(Event.objects.filter(subject_id=subject.id).order_by("seq"))
    assert files["events.jsonl"] == b"".join(bytes(event.body) + b"\n" for event in stored)
    about = statement_of(files)["predicate"]
    assert about["head"] == {"seq": 5, "hash": bytes(stored[4].hash).hex()}
    assert (about["format"], about["audience"], about["sealed"]) == ("interlock.evidence/1", "full", 5)
    openings = [json.loads(line) for line in files["openings.jsonl"].splitlines()]
    assert [(o["seq"], o["name"]) for o in openings] == [(1, "reason"), (3, "comment")]
    decisions = json.loads(files["decisions.json"])
    assert [(d["seq"], d["outcome"]) for d in decisions] == [(3, "ok"), (4, "refused")]
    assert decisions[0]["facts"]["comment"] == {"private": "Fine by me, Zoë"}
    timeline = files["timeline.md"].decode("ascii")
    assert "preflight.planned" in timeline and "\x1b" not in timeline and "Zo" not in timeline
    assert sum(name.startswith("artifacts/") for name in files) == 3
    assert our_key().id in files["README.md"].decode("ascii")


def test_the_change_is_there_as_it_was_shown(subject):
    files = members_of(packed(subject))
    (page,) = [data.decode() for name, data in files.items() if name.startswith("changes/")]
    assert "2 &lt;b&gt;" in page and "<script" not in page and "src=" not in page and "<button" not in page


def test_the_same_events_make_the_same_bytes_of_the_promised_size(subject):
    pack = packed(subject, PackRequest())
    a_story()
    seal()
    assert SignedTreeHead.objects.filter(tenant=TENANT).count() > 1
    again = plan_pack(TENANT, subject)
    assert b"".join(again) == pack and again.size == len(pack)


def test_the_proofs_lead_to_a_head_that_somebody_kept_if_they_ask_for_it(subject):
    packed(subject)
    a_story()
    seal()
    newest = SignedTreeHead.objects.filter(tenant=TENANT).order_by("-number").first()
    assert verdict(packed(subject, PackRequest(head_size=newest.size, report=False))).log_size == newest.size
    with pytest.raises(NotFound):
        packed(subject, PackRequest(head_size=10**9))


def test_the_report_carries_the_pack_and_that_verifies(subject):
    pack = packed(subject, PackRequest())
    with pikepdf.open(io.BytesIO(members_of(pack)["report.pdf"])) as report:
        inner = report.attachments["evidence.zip"].get_file().read_bytes()
    assert verdict(inner, our_key()).seq == 5
    assert members_of(inner)["events.jsonl"] == members_of(pack)["events.jsonl"]


def test_what_was_erased_is_not_in_the_pack_and_the_decisions_say_so(subject):
    before = packed(subject, PackRequest())
    PrivateValue.objects.filter(subject_id=subject.id, name="comment").update(salt=None, value=None)
    erased = packed(subject, PackRequest())
    found = verdict(erased, our_key())
    assert (found.seq, found.openings, found.closed) == (5, 1, 1)
    assert "Zoë".encode() not in erased and b"Fine by me" not in erased
    assert json.loads(members_of(erased)["decisions.json"])[0]["facts"]["comment"] == {"private": None}
    assert verdict(before, our_key()).closed == 0  # a pack that was taken before still verifies
    assert verify_chains(tenant=TENANT).ok


def test_an_outsiders_pack_opens_nothing_and_still_verifies(subject):
    redaction = redaction_for(TENANT, "external")
    pack = packed(subject, PackRequest(redaction=redaction))
    found, files = verdict(pack, our_key()), members_of(pack)
    assert (found.closed, found.openings, found.audience) == (2, 0, "external")
    assert files["openings.jsonl"] == b"" and "context/people.json" not in files
    assert statement_of(files)["predicate"]["withheld"]["private"] == ["comment", "reason"]
    for secret in ("Zoë", "Fine by me", HOSTILE):
        assert secret.encode() not in pack


def test_a_tenant_says_itself_what_is_withheld_from_whom(subject):
    Audience.objects.create(tenant=TENANT, name="regulator", withheld=["private:comment", "artifact:other"])
    pack = packed(subject, PackRequest(redaction=redaction_for(TENANT, "regulator"), report=False))
    found = verdict(pack, our_key())
    assert (found.closed, found.openings, found.artifacts, found.withheld) == (1, 1, 2, 1)
    assert b"step 1" not in pack
    with pytest.raises(NotFound):
        redaction_for(uuid7(), "regulator")


def test_floors_above_add_files_and_facts_unless_withheld(subject, monkeypatch):
    monkeypatch.setitem(_contributors, "deed", [])
    said = Contribution((("ticket.json", b'{"key":"OPS-1"}', "ticket"),), (("Ticket", "OPS-1"),))
    register_contributor("deed", lambda tenant, about: said)
    assert members_of(packed(subject))["context/ticket.json"] == b'{"key":"OPS-1"}'
    assert b"OPS-1" not in packed(subject, PackRequest(redaction=redaction_for(TENANT, "external"), report=False))


def test_extra_files_are_covered_by_the_statement(subject):
    pack = packed(subject, PackRequest(report=False, extra_files={"shot.png": b"\x89PNG"}))
    assert verdict(pack).seq == 5 and members_of(pack)["extra/shot.png"] == b"\x89PNG"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "é.md"])
def test_extra_files_have_flat_names(subject, name):
    with pytest.raises(ValueError, match="flat"):
        packed(subject, PackRequest(report=False, extra_files={name: b""}))


def test_a_large_artifact_is_streamed_in_chunks(db):
    log = random.Random(1).randbytes(3 * CHUNK_BYTES + 17)
    pack = plan_pack(TENANT, a_story(log=log), LEAN)
    pieces = list(pack)
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert pack.file(f"artifacts/{hashlib.sha256(log).hexdigest()}.txt").size == len(log)
    assert verdict(b"".join(pieces)).artifacts == 3


def test_there_is_no_pack_of_an_unknown_subject_or_of_another_tenants(subject):
    with pytest.raises(NotFound):
        plan_pack(TENANT, a_subject("deed"))
    with pytest.raises(NotFound):
        plan_pack(uuid7(), subject)


@pytest.mark.parametrize("harm", ["event", "artifact", "artifact bytes", "opening"])
def test_no_pack_is_made_of_evidence_that_is_not_intact(subject, harm):
    guards.unprotect(connection)
    if harm == "event":
        Event.objects.filter(subject_id=subject.id, seq=2).update(body=b"{}")
    elif harm == "artifact":
        Artifact.objects.filter(media_type="application/json").delete()
    elif harm == "artifact bytes":
        Artifact.objects.filter(media_type="application/json").update(data=b"{}")
    else:
        PrivateValue.objects.filter(subject_id=subject.id, seq=3).update(value=b"No")
    guards.protect(connection)
    with pytest.raises(EvidenceBroken, match="First break"):
        plan_pack(TENANT, subject)
