"""The signed statement of a pack (in-toto in DSSE), and the proofs that lead its events to a signed head."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.errors import NotFound
from audit.evidence.contents import Member, Spool
from audit.models.seals import Leaf, SignedTreeHead
from audit.seals.keys import public_keys
from audit.seals.sealer import seal
from audit.seals.tree import StoredNodes
from audit.verify.events import canonical_bytes, statement_json
from audit.verify.merkle import inclusion_proof
from audit.verify.trust import PAYLOAD_TYPE, pae

Signer = tuple[str, Callable[[bytes], bytes]]  # key id, and what signs bytes with that key


def sign_statement(about: dict[str, Any], files: Sequence[dict[str, Any]], signers: Sequence[Signer]) -> bytes:
    """The bytes of attestation.json: what the pack is about and lists, signed by each signer once."""
    signers = sorted(signers, key=lambda signer: signer[0])
    payload = statement_json({**about, "signers": [key_id for key_id, _ in signers]}, files)
    signed = [{"keyid": key_id, "sig": _base64(sign(pae(payload)))} for key_id, sign in signers]
    return canonical_bytes({"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signed})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# How the events of a pack hang on a signed head of their tenant's log.


MAX_PROOFS = 2_000
"""Of the newest sealed events. The chain binds all before them: each event holds the hash of the one before it."""


@dataclass(frozen=True)
class HeadProof:
    """keys.json, head.txt and proofs.jsonl. `upto`: the event up to which the head covers the subject, 0 for none."""

    members: tuple[Member, ...]
    upto: int
    note: str
    size: int
    key_ids: tuple[str, ...]


def prove_events(tenant: UUID, subject_id: UUID, seq: int, head_size: int | None = None) -> HeadProof:
    """Proofs to the first head that covers event `seq`, so that the same events give the same bytes ever after.

    With `head_size`, to the head of that size. What is not sealed yet is sealed now, if nobody else is at it; else the
    newest head has to do. Raises NotFound when there is no head of that size.
    """
    leaves = Leaf.objects.filter(tenant=tenant, subject_id=subject_id, seq__lte=seq)
    newest = leaves.order_by("-seq").first()
    if newest is None or newest.seq < seq:
        seal()
        newest = leaves.order_by("-seq").first()
    heads = SignedTreeHead.objects.filter(tenant=tenant)
    if head_size is not None:
        head = heads.filter(size=head_size).order_by("number").first()
        if head is None:
            raise NotFound
    else:
        head = heads.filter(size__gt=newest.log_index).order_by("number").first() if newest else None
    keys = public_keys(tenant)
    covered = leaves.filter(log_index__lt=head.size) if head else leaves.none()
    last = covered.order_by("-seq").first()
    proofs = Spool()
    for line in _proof_lines(
        tenant, head, [(leaf.seq, leaf.log_index) for leaf in covered.order_by("-seq")[:MAX_PROOFS]]
    ):
        proofs.line(line)
    note = head.note if head and last else ""
    members = (
        Member.of("keys.json", canonical_bytes(keys)),
        Member.of("head.txt", note.encode()),
        proofs.member("proofs.jsonl"),
    )
    size = head.size if head and last else 0
    return HeadProof(members, last.seq if last else 0, note, size, tuple(str(key["key_id"]) for key in keys))


def _proof_lines(tenant: UUID, head: SignedTreeHead | None, places: list[tuple[int, int]]) -> Iterator[bytes]:
    if head is None:
        return
    nodes = StoredNodes(tenant)
    for seq, log_index in sorted(places):
        path = [part.hex() for part in inclusion_proof(log_index, head.size, nodes)]
        yield canonical_bytes({"seq": seq, "log_index": log_index, "proof": path})
