"""The signed statement is what in-toto and DSSE say it is: their vectors, and other people's tools."""

import base64
import copy
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from google.protobuf.json_format import ParseDict
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementPB
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from audit.verify import Verifier
from audit.verify.signatures import pae
from tests.audit.packs import Stranger, a_story, members_of, our_key, packed
from tests.support.vectors import vectors

IN_TOTO = json.loads((vectors("in-toto") / "cases.json").read_text())
(DSSE,) = json.loads((vectors("dsse") / "vectors.json").read_text())["vectors"]
STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
HEX_DIGITS = {
    "md5": 32,
    "sha1": 40,
    "gitCommit": 40,
    "gitTree": 40,
    "gitBlob": 40,
    "gitTag": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha512_224": 56,
    "sha512_256": 64,
    "sha3_224": 56,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
    "dirHash": 64,
}


@dataclass(frozen=True)
class InvalidStatement(ValueError):
    """A statement or resource descriptor that in-toto does not allow; `why` is the name that its own library uses."""

    why: str


def check_statement(statement: dict[str, Any]) -> None:
    """Raise InvalidStatement unless this is an in-toto Statement (in-toto/attestation, spec/v1/statement.md)."""
    if statement.get("_type") not in STATEMENT_TYPES:
        raise InvalidStatement("ErrInvalidStatementType")
    if not statement.get("subject"):
        raise InvalidStatement("ErrSubjectRequired")
    for subject in statement["subject"]:
        check_descriptor(subject)
        if not subject.get("digest"):
            raise InvalidStatement("ErrDigestRequired")
    if not statement.get("predicateType"):
        raise InvalidStatement("ErrPredicateTypeRequired")
    if not statement.get("predicate"):
        raise InvalidStatement("ErrPredicateRequired")


def check_descriptor(found: dict[str, Any]) -> None:
    """Raise InvalidStatement unless this is a ResourceDescriptor: it names something; known digests are hex."""
    if not (found.get("name") or found.get("uri") or found.get("digest")):
        raise InvalidStatement("ErrRDRequiredField")
    for algorithm, digest in found.get("digest", {}).items():
        length = HEX_DIGITS.get(algorithm)
        if length is None:
            continue
        if not re.fullmatch(r"(?:[0-9a-f]{2})*", digest):
            raise InvalidStatement("ErrInvalidDigestEncoding")
        if len(digest) not in ((40, 64) if algorithm.startswith("git") else (length,)):
            raise InvalidStatement("ErrIncorrectDigestLength")


CASES = [
    (check, case)
    for check, name in ((check_statement, "statement"), (check_descriptor, "resource_descriptor"))
    for case in IN_TOTO[name]
]


@pytest.mark.parametrize(("check", "case"), CASES, ids=[case["name"] for _, case in CASES])
def test_in_toto_cases(check, case):
    if case["error"] is None:
        check(case["input"])
    else:
        with pytest.raises(InvalidStatement) as refused:
            check(case["input"])
        assert refused.value.why == case["error"]


def test_what_is_signed_is_what_dsse_says():
    payload = DSSE["payload_utf8"].encode()
    encoded = pae(payload, DSSE["payloadType"])
    assert encoded == DSSE["pae_utf8"].encode()
    key = ec.EllipticCurvePublicNumbers(int(DSSE["key"]["x"]), int(DSSE["key"]["y"]), ec.SECP256R1()).public_key()
    raw = base64.b64decode(DSSE["envelope"]["signatures"][0]["sig"])
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key.verify(signature, encoded, ec.ECDSA(SHA256()))


@pytest.fixture
def envelope(db):
    return json.loads(members_of(packed(a_story()))["attestation.json"])


def as_theirs(key: Verifier) -> SSlibKey:
    return SSlibKey(key.id, "ed25519", "ed25519", {"public": key.public.hex()})


def test_securesystemslib_verifies_it(envelope):
    read = Envelope.from_dict(copy.deepcopy(envelope))
    assert list(read.verify([as_theirs(our_key())], 1)) == [our_key().id]
    assert read.pae() == pae(read.payload)


def test_securesystemslib_refuses_what_we_refuse(envelope):
    stranger = Stranger().key
    with pytest.raises(VerificationError):
        Envelope.from_dict(copy.deepcopy(envelope)).verify([as_theirs(stranger)], 1)
    payload = base64.b64decode(envelope["payload"]).replace(b'"full"', b'"none"')
    changed = {**envelope, "payload": base64.b64encode(payload).decode()}
    with pytest.raises(VerificationError):
        Envelope.from_dict(copy.deepcopy(changed)).verify([as_theirs(our_key())], 1)


def test_in_toto_attestation_reads_the_statement(envelope):
    statement = json.loads(base64.b64decode(envelope["payload"]))
    check_statement(statement)
    parsed = Statement.copy_from_pb(ParseDict(statement, StatementPB()))
    parsed.validate()
    assert {d.name for d in parsed.pb.subject} >= {"events.jsonl", "openings.jsonl", "proofs.jsonl"}
