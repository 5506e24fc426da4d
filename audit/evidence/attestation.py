"""The signed statement of a pack: an in-toto Statement (v1) in a DSSE envelope, which others' tools verify too."""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from audit.verify.readable import statement_json
from audit.verify.strict import plain
from audit.verify.trust import PAYLOAD_TYPE, pae

STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
HEX_DIGITS = {"md5": 32, "sha1": 40, "gitCommit": 40, "gitTree": 40, "gitBlob": 40, "gitTag": 40, "sha224": 56,
              "sha256": 64, "sha384": 96, "sha512": 128, "sha512_224": 56, "sha512_256": 64,
              "sha3_224": 56, "sha3_256": 64, "sha3_384": 96, "sha3_512": 128, "dirHash": 64}  # fmt: skip
Signer = tuple[str, Callable[[bytes], bytes]]  # key id, and what signs bytes with that key


@dataclass(frozen=True)
class Unfit(ValueError):
    """A statement or resource descriptor that in-toto does not allow; `why` is the name that its own library uses."""

    why: str


def attestation(about: dict[str, Any], files: Sequence[dict[str, Any]], signers: Sequence[Signer]) -> bytes:
    """The bytes of attestation.json: what the pack is about and lists, signed by each signer once."""
    signers = sorted(signers, key=lambda signer: signer[0])
    payload = statement_json({**about, "signers": [key_id for key_id, _ in signers]}, files)
    signed = [{"keyid": key_id, "sig": _base64(sign(pae(payload)))} for key_id, sign in signers]
    return plain({"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signed})


def check_statement(statement: dict[str, Any]) -> None:
    """Raises Unfit unless this is an in-toto Statement (github.com/in-toto/attestation, spec/v1/statement.md)."""
    if statement.get("_type") not in STATEMENT_TYPES:
        raise Unfit("ErrInvalidStatementType")
    if not statement.get("subject"):
        raise Unfit("ErrSubjectRequired")
    for subject in statement["subject"]:
        check_descriptor(subject)
        if not subject.get("digest"):
            raise Unfit("ErrDigestRequired")
    if not statement.get("predicateType"):
        raise Unfit("ErrPredicateTypeRequired")
    if not statement.get("predicate"):
        raise Unfit("ErrPredicateRequired")


def check_descriptor(found: dict[str, Any]) -> None:
    """Raises Unfit unless this is a ResourceDescriptor: it names something, and known digests are lower-case hex."""
    if not (found.get("name") or found.get("uri") or found.get("digest")):
        raise Unfit("ErrRDRequiredField")
    for algorithm, digest in found.get("digest", {}).items():
        length = HEX_DIGITS.get(algorithm)
        if length is None:
            continue
        if not re.fullmatch(r"(?:[0-9a-f]{2})*", digest):
            raise Unfit("ErrInvalidDigestEncoding")
        if len(digest) not in ((40, 64) if algorithm.startswith("git") else (length,)):
            raise Unfit("ErrIncorrectDigestLength")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
