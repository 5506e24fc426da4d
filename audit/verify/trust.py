"""Who says so: Ed25519 keys, DSSE envelopes, signed heads, and the way from an event to a head (RFC 9162)."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from audit.verify.events import Broken, safe_text, unbase64

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:  # packs of version 1 are not signed and need neither
    InvalidSignature = Ed25519PublicKey = None  # type: ignore[assignment, misc]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASH_LINE = re.compile(r"^([0-9a-f-]{36}) ([0-9]{1,18}) ([0-9a-f]{64})$", re.MULTILINE)
NOTE = re.compile(r"((?:[^\n]+\n){3,})\n((?:— [^\n]+\n)+)")


class CannotCheck(Exception):
    """The package `cryptography` is needed to check signatures, and is not installed here."""


@dataclass(frozen=True)
class Key:
    """An Ed25519 public key under the name of who signs with it; written `name+id+base64`, as C2SP has it."""

    name: str
    id: str
    public: bytes

    @classmethod
    def read(cls, vkey: str) -> "Key":
        name, _, rest = vkey.strip().partition("+")
        key_id, _, blob = rest.partition("+")
        try:
            data = unbase64(blob, "key")
        except Broken:
            data = b""
        right_id = hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8]
        if not name or data[:1] != b"\1" or len(data) != 33 or key_id != right_id:
            raise Broken("bad_key", f"key {safe_text(vkey[:60])}", "it is not an Ed25519 key as C2SP writes it")
        return cls(name, key_id, data[1:])

    def signed(self, signature: bytes, data: bytes) -> bool:
        if Ed25519PublicKey is None:
            raise CannotCheck(CannotCheck.__doc__)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, data)
        except InvalidSignature:
            return False
        return True


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What a DSSE signature is over (Pre-Authentication Encoding, version 1)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def check_signatures(
    envelope: Mapping[str, Any], offered: Iterable[Key], trusted: Sequence[Key], least: int
) -> list[Key]:
    """The keys that signed. Every signature must hold, each by another key, and `least` by keys that are trusted."""
    known = {key.id: key for key in chain(offered, trusted)}
    payload, by = unbase64(envelope["payload"], "attestation.json"), []
    for entry in envelope["signatures"]:
        key = known.get(entry["keyid"])
        if key is None:
            raise Broken(
                "unknown_signer", f"key {safe_text(entry['keyid'])}", "the pack names no such key, and you gave none"
            )
        if not key.signed(unbase64(entry["sig"], "attestation.json"), pae(payload)):
            raise Broken("bad_signature", f"signature by {key.id}", "it is not of this statement")
        by.append(key)
    ids = [key.id for key in by]
    if not by or ids != sorted(set(ids)) or len({key.public for key in by}) < len(by):
        raise Broken("bad_signature", "attestation.json", "it is not signed by one or more keys, once by each")
    if trusted and sum(key.public in {t.public for t in trusted} for key in by) < least:
        raise Broken("unknown_signer", f"signature by {', '.join(ids)}", "that is not the key that you trust")
    return by


def read_head(note: str, keys: Iterable[Key] | None, item: str = "head.txt") -> tuple[str, int, bytes]:
    """Origin, size and root of a signed head (c2sp.org/tlog-checkpoint); without keys, whoever signed it."""
    match = NOTE.fullmatch(note)
    origin, size, root, *_ = match[1].split("\n") if match else ("", "", "")
    if match is None or not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or len(unbase64(root, item)) != 32:
        raise Broken("edited", item, "it is not the signed head of a log")
    if keys is not None:
        known = {(key.name, key.id): key for key in keys}
        for line in match[2].splitlines():
            _, name, blob = (*line.split(" "), "", "")[:3]
            data = unbase64(blob, item)
            key = known.get((name, data[:4].hex()))
            if key is None or not key.signed(data[4:], match[1].encode()):
                raise Broken("bad_signature", item, f"it is not signed by a key of the pack ({safe_text(line[:80])})")
    return origin, int(size), unbase64(root, item)


@dataclass(frozen=True)
class ExternalHeads:
    """What was kept elsewhere: heads of logs, and the hashes of chains at some events."""

    heads: tuple[tuple[str, int, bytes], ...] = ()
    hashes: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def read(cls, text: str) -> "ExternalHeads":
        """From signed notes and lines `id seq hash`, mixed. They are believed as they stand."""
        hashes = tuple((m[1], int(m[2]), m[3]) for m in HASH_LINE.finditer(text))
        notes = NOTE.finditer(HASH_LINE.sub("", text))
        heads = tuple(read_head(match[0], None, "kept head") for match in notes)
        if text.strip() and not heads and not hashes:
            raise Broken("head_unknown", "kept head", "what you gave holds no head")
        return cls(heads, hashes)

    def hashes_of(self, subject: Mapping[str, Any]) -> dict[int, str]:
        return {seq: digest for pk, seq, digest in self.hashes if pk == subject["id"]}

    def has_head(self, origin: str, size: int, root: bytes) -> bool:
        """Whether this very head was kept; False if none was. Raises Broken when another was, or none of its size."""
        sizes = {kept[1]: kept[2] for kept in self.heads if kept[0] == origin}
        if self.heads and size not in sizes:
            has = ", ".join(map(str, sorted(sizes)[-5:])) or "none of this log"
            raise Broken("head_unknown", "head.txt", f"it is of {size} entries; of those that were kept are {has}")
        if size in sizes and sizes[size] != root:
            raise Broken("forked", "head.txt", "the head of the same size that was kept has another root")
        return size in sizes


def root_from(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 2.1.3.2); b"" when it is no proof for that place."""
    if not 0 <= index < size:
        return b""
    at, last, found = index, size - 1, leaf
    for part in proof:
        if not last:
            return b""
        is_right = at & 1 or at == last
        found = hashlib.sha256(b"\1" + (part + found if is_right else found + part)).digest()
        while is_right and at and not at & 1:
            at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    return found if not last else b""
