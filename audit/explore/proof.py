"""An event's way to a signed head, step by step: its bytes, its leaf, each node up to the root, the head's signature.

Every hash is worked out here from the stored bytes; the page shows what came out, and where it stopped fitting.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audit.models import Event
from audit.seals.keys import verifiers
from audit.seals.merkle import inclusion_proof, leaf_hash, node_hash
from audit.seals.models import Leaf
from audit.seals.nodes import StoredNodes
from audit.seals.notes import BadNote, read_checkpoint, read_note, verified
from audit.seals.proofs import newest


@dataclass(frozen=True)
class Step:
    """Two nodes side by side and the one above them. `side` says where the proof's hash stands: left or right."""

    level: int
    side: str
    sibling: str
    result: str


@dataclass
class Walk:
    """`is_stored_hash`: the bytes have the hash that was stored with them. `fits`: the path ends at the head's root.

    Both None where it was not sealed yet. `words` say what is wrong, or what is to wait for.
    """

    event_hash: str
    is_stored_hash: bool
    leaf: str
    log_index: int | None = None
    size: int | None = None
    root: str = ""
    steps: list[Step] = field(default_factory=list)
    fits: bool | None = None
    signed_by: list[str] = field(default_factory=list)
    checkpoint: str = ""
    words: str = ""


def walk(tenant: UUID, event: Event) -> Walk:
    """Walk from one event to the newest signed head. Reads the proof and the tenant's public keys."""
    body = bytes(event.body)
    digest, leaf = hashlib.sha256(body).digest(), leaf_hash(body)
    found = Walk(digest.hex(), digest == bytes(event.hash), leaf.hex())
    proven = proof_of(tenant, event)
    if proven is None:
        found.words = "Not sealed yet: the sealer is a few seconds behind. Its chain already holds it."
        return found
    found.log_index, found.size, found.root = proven["log_index"], proven["size"], proven["root"].hex()
    found.checkpoint, found.signed_by = proven["checkpoint"], proven["signed_by"]
    found.steps, top = climb(leaf, proven["log_index"], proven["size"], proven["proof"])
    found.fits = top == proven["root"] and bool(found.signed_by)
    if top != proven["root"]:
        found.words = "The path does not lead to the head's root: this is not the event that was sealed."
    elif not found.signed_by:
        found.words = "No key of the tenant signed this head."
    return found


def climb(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> tuple[list[Step], bytes]:
    """From a leaf to the top, as RFC 9162 2.1.3.2 does it: the steps, and the hash they end in (b"" if too many)."""
    at, last, found = index, size - 1, leaf
    steps: list[Step] = []
    for level, sibling in enumerate(proof, 1):
        if last == 0:
            return steps, b""
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            side = "left"
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found, side = node_hash(found, sibling), "right"
        at, last = at >> 1, last >> 1
        steps.append(Step(level, side, sibling.hex(), found.hex()))
    return steps, found if last == 0 else b""


def proof_of(tenant: UUID, event: Event) -> dict[str, Any] | None:
    """The event's inclusion proof to the newest head: {log_index, size, root, proof, checkpoint, signed_by}, or None.

    The head is read from its note, and counts only with a signature by one of the tenant's keys.
    """
    head, leaf = newest(tenant), Leaf.objects.filter(tenant=tenant, event_id=event.pk).first()
    if head is None or leaf is None or leaf.log_index >= head.size:
        return None
    try:
        text, by = verified(head.note, verifiers(tenant))
        said, names = read_checkpoint(text), [f"{v.name} ({v.key_id.hex()})" for v in by]
    except BadNote:
        said, names = read_checkpoint(read_note(head.note).text), []
    try:
        path = inclusion_proof(leaf.log_index, said.size, StoredNodes(tenant))
    except LookupError:
        path = []
    return {"log_index": leaf.log_index, "size": said.size, "root": said.root, "proof": path,
            "checkpoint": head.note, "signed_by": names}  # fmt: skip
