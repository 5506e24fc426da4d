"""What the tests of evidence packs share: a story to pack, and a forger's tools."""

import base64
import hashlib
import io
import json
import random
import zipfile
import zlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.changes.document import Change, serialize_changes
from audit.evidence.contents import sign_statement
from audit.evidence.pack import PackRequest, build_pack
from audit.log import artifacts
from audit.log.canonical_json import canonical
from audit.log.events import record
from audit.seals.keys import signing_key
from audit.verify import read_key, signatures, verify_file
from audit.verify.container import directory_entry, end_record, local_header
from tests.audit.cast import TENANT, a_subject, an_entry

LEAN = PackRequest(report=False)
DIGEST = "d" * 64
HOSTILE = "Grüße | `rm -rf`\x1b[2J"


def a_story(log=b"step 1\nstep 2\n", comment="Fine by me, Zoë"):
    """An action that was planned, decided on and run: five events, three artifacts, two private values."""
    subject = a_subject("deed")
    change = Change("k", "notes.txt", "file", "modify", before="one\ntwo\n", after="one\n2 <b>\n")
    changes = artifacts.store_artifact(TENANT, canonical(serialize_changes([change])), "application/json")
    plan = artifacts.store_artifact(TENANT, b'{"format":"interlock.plan/1","steps":[]}', "application/json")
    written = artifacts.store_artifact(TENANT, log, "text/plain; charset=utf-8")
    facts = {"digest": DIGEST, "version": 1, "n": 3}
    record(an_entry(subject, "action.submitted", private={"reason": HOSTILE}))
    record(an_entry(subject, "preflight.planned", facts=facts, artifacts=(plan, changes)))
    record(
        an_entry(
            subject, "approval.granted", facts={"role": "approver", "digest": DIGEST}, private={"comment": comment}
        )
    )
    record(an_entry(subject, "approval.granted", outcome="refused", facts={"why": "not entitled"}))
    record(an_entry(subject, "action.complete", facts={"from": "verifying", "to": "completed"}, artifacts=(written,)))
    return subject


def packed(subject, pack_request=LEAN):
    return b"".join(build_pack(TENANT, subject, pack_request))


def our_key():
    return read_key(signing_key(TENANT).vkey)


def verdict(data, *keys, **options):
    return verify_file(io.BytesIO(data), keys, **options)


def members_of(pack):
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def encoded(members):
    """A ZIP of these (name, content) in the canonical encoding."""
    out, directory = b"", b""
    for name, data in members:
        crc = zlib.crc32(data)
        directory += directory_entry(name, crc, len(data), len(out))
        out += local_header(name, crc, len(data)) + data
    return out + directory + end_record(len(members), len(directory), len(out))


def statement_of(members):
    return json.loads(base64.b64decode(json.loads(members["attestation.json"])["payload"]))


def signed_anew(members, *signers, **about):
    """The pack of these files, their list signed anew, by our key if by no other; `about` replaces what it says."""
    members = dict(members)
    said = {**statement_of(members)["predicate"], **about}
    del members["attestation.json"]
    files = [{"path": n, "sha256": hashlib.sha256(d).hexdigest(), "size": len(d)} for n, d in members.items()]
    key = signing_key(TENANT)
    first = sign_statement(said, files, signers or [(key.key_id, key.sign)])
    return encoded([("attestation.json", first), *members.items()])


class Stranger:
    """Somebody with a key of their own."""

    def __init__(self, seed=1, name="somebody/else"):
        self.private = Ed25519PrivateKey.from_private_bytes(random.Random(seed).randbytes(32))
        self.verifier = signatures.Verifier(name, self.private.public_key().public_bytes_raw())
        self.key = read_key(self.verifier.vkey)
        self.signer = (self.key.id, self.private.sign)

    def listed(self):
        return {"vkey": self.verifier.vkey, "key_id": self.key.id, "valid_from": None}
