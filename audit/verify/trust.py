"""Who signed a pack: Ed25519 keys, DSSE envelopes, and signed heads that were kept elsewhere."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from audit.verify.events import Broken, safe_text, unbase64
from audit.verify.signed_note import (
    InvalidNote,
    TreeHead,
    Verifier,
    parse_note,
    parse_tree_head,
    parse_vkey,
    verify_note,
)

PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASH_LINE = re.compile(r"^([0-9a-f-]{36}) ([0-9]{1,18}) ([0-9a-f]{64})$", re.MULTILINE)
NOTE = re.compile(r"((?:[^\n]+\n){3,})\n((?:— [^\n]+\n)+)")


def read_key(vkey: str) -> Verifier:
    """The public key that is written so (`name+id+base64`, as C2SP has it). Raises Broken("bad_key")."""
    try:
        return parse_vkey(vkey)
    except ValueError as error:
        raise Broken("bad_key", f"key {safe_text(vkey[:60])}", str(error)) from error


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The bytes that a DSSE signature is over: the pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def check_signatures(
    envelope: Mapping[str, Any], offered: Iterable[Verifier], trusted: Sequence[Verifier], least: int
) -> list[Verifier]:
    """The keys that signed. Every signature must verify, each by another key, and `least` by keys that are trusted."""
    known = {key.id: key for key in chain(offered, trusted)}
    payload, by = unbase64(envelope["payload"], "attestation.json"), []
    for entry in envelope["signatures"]:
        key = known.get(entry["keyid"])
        if key is None:
            raise Broken(
                "unknown_signer",
                f"key {safe_text(entry['keyid'])}",
                "the pack does not list this key, and you did not give it",
            )
        if not key.is_by(unbase64(entry["sig"], "attestation.json"), pae(payload)):
            raise Broken("bad_signature", f"signature by {key.id}", "it does not match the statement")
        by.append(key)
    ids = [key.id for key in by]
    if not by or ids != sorted(set(ids)) or len({key.public for key in by}) < len(by):
        raise Broken("bad_signature", "attestation.json", "it must be signed by at least one key, and once by each")
    if trusted and sum(key.public in {t.public for t in trusted} for key in by) < least:
        raise Broken("unknown_signer", f"signature by {', '.join(ids)}", "this is not the key that you trust")
    return by


def read_head(note: str, keys: Sequence[Verifier] | None, item: str = "head.txt") -> TreeHead:
    """Read a signed head (c2sp.org/tlog-checkpoint): each signature must be by one of `keys`; None takes any signer."""
    try:
        parsed = parse_note(note)
        head = parse_tree_head(parsed.text)
    except InvalidNote as error:
        raise Broken("edited", item, f"it is not a signed tree head: {error}") from error
    if keys is not None:
        known = {(key.name, key.key_id) for key in keys}
        try:
            verify_note(note, keys)
        except InvalidNote as error:
            raise Broken("bad_signature", item, str(error)) from error
        if any((line.name, line.key_id) not in known for line in parsed.signatures):
            raise Broken("bad_signature", item, "it is not signed by a key of the pack")
    return head


@dataclass(frozen=True)
class ExternalHeads:
    """Signed tree heads that were kept elsewhere, and the hashes of chains at some events."""

    heads: tuple[TreeHead, ...] = ()
    hashes: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def read(cls, text: str) -> "ExternalHeads":
        """Read signed notes and lines `id seq hash`, mixed. Their signatures are not checked."""
        hashes = tuple((m[1], int(m[2]), m[3]) for m in HASH_LINE.finditer(text))
        notes = NOTE.finditer(HASH_LINE.sub("", text))
        heads = tuple(read_head(match[0], None, "external head") for match in notes)
        if text.strip() and not heads and not hashes:
            raise Broken("head_unknown", "external head", "the file contains no tree head")
        return cls(heads, hashes)

    def hashes_of(self, subject: Mapping[str, Any]) -> dict[int, str]:
        return {seq: digest for pk, seq, digest in self.hashes if pk == subject["id"]}

    def has_head(self, head: TreeHead, item: str = "head.txt") -> bool:
        """Whether this very head was kept; False if none was. Raises Broken when another was, or none of its size."""
        roots = {kept.size: kept.root for kept in self.heads if kept.origin == head.origin}
        if self.heads and head.size not in roots:
            sizes = ", ".join(map(str, sorted(roots)[-5:])) or "none of this log"
            raise Broken("head_unknown", item, f"it has {head.size} entries; the heads that you gave have: {sizes}")
        if head.size in roots and roots[head.size] != head.root:
            raise Broken("forked", item, "the head of the same size that you gave has another root")
        return head.size in roots


NO_HEADS = ExternalHeads()
