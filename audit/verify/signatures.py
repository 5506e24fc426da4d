"""Signed notes, keys and envelopes, with Ed25519; signed tree heads that were kept elsewhere. Needs no Django.

A note (c2sp.org/signed-note) is text, an empty line, and signature lines `— name base64(key id | signature)`. A tree
head
(c2sp.org/tlog-checkpoint) is a note whose text is the log's origin, its size, its root and extension lines. An evidence
pack is signed in a DSSE envelope.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from audit.verify.events import Broken, safe_text, unbase64
from audit.verify.merkle import HASH_BYTES, MAX_SIZE

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:  # then the command line says what to install
    InvalidSignature = Ed25519PublicKey = None  # type: ignore[assignment, misc]

ED25519 = b"\1"
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 16
SIGNATURE = re.compile(r"— (?P<name>[^ +]+) (?P<blob>[A-Za-z0-9+/=]+)")
DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASH_LINE = re.compile(r"^([0-9a-f-]{36}) ([0-9]{1,18}) ([0-9a-f]{64})$", re.MULTILINE)
NOTE = re.compile(r"((?:[^\n]+\n){3,})\n((?:— [^\n]+\n)+)")


class CannotCheck(Exception):
    """Checking signatures needs the Python package `cryptography`, which is not installed here."""


class InvalidNote(ValueError):
    """This is no signed note, or no signature on it is by a key that is known."""


@dataclass(frozen=True)
class Verifier:
    """A public key under the name of who signs with it."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        return key_id_of(self.name, self.public)

    @property
    def id(self) -> str:
        """The key id in hex."""
        return self.key_id.hex()

    @property
    def vkey(self) -> str:
        """The key as C2SP writes it: `name+key id+base64(algorithm | public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.public)}"

    def is_by(self, signature: bytes, text: bytes) -> bool:
        """Whether this key signed the text. Raises CannotCheck."""
        if Ed25519PublicKey is None:
            raise CannotCheck(CannotCheck.__doc__)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class TreeHead:
    """A tree head: `size` leaves have the root `root`. `extensions` are its further lines, in order."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        return "\n".join([self.origin, str(self.size), _base64(self.root), *self.extensions, ""])

    def extension(self, word: str) -> str:
        """The value of the extension line that begins with `word`, or "". Ours are `number`, `at` and `previous`."""
        return next((line.partition(" ")[2] for line in self.extensions if line.partition(" ")[0] == word), "")


@dataclass(frozen=True)
class Signature:
    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A note as read; nothing of it is verified."""

    text: str
    signatures: tuple[Signature, ...]


def key_id_of(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def parse_vkey(vkey: str) -> Verifier:
    """Raises ValueError when it is no Ed25519 verifier key, or its key id is not its own."""
    name, _, rest = vkey.strip().partition("+")
    key_id, _, blob = rest.partition("+")
    data = _unbase64(blob)
    if not name or data[:1] != ED25519 or len(data) != 33:
        raise ValueError("this is not an Ed25519 key as C2SP writes it")
    found = Verifier(name, data[1:])
    if found.key_id.hex() != key_id:
        raise ValueError("the key's id does not belong to the key")
    return found


def sign_text(text: str, name: str, key_id: bytes, sign: Callable[[bytes], bytes]) -> str:
    """The note of this text, signed."""
    return f"{text}\n— {name} {_base64(key_id + sign(text.encode()))}\n"


def digest_of_note(note: str) -> str:
    """The `previous` of the head after this one."""
    return _base64(hashlib.sha256(note.encode()).digest())


def parse_note(data: str) -> Note:
    """Split a note into text and signatures. Raises InvalidNote."""
    if len(data.encode("utf-8", "replace")) > MAX_NOTE_BYTES:
        raise InvalidNote("it is too long for a signed head")
    if any((ord(c) < 0x20 and c != "\n") or c == "\x7f" or 0xD800 <= ord(c) < 0xE000 for c in data):
        raise InvalidNote("it contains characters that no signed note has")
    text, found, rest = data.rpartition("\n\n")
    if not found or not rest.endswith("\n"):
        raise InvalidNote("it has no signature: a signed head ends with a line that begins with a long dash")
    lines = rest[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InvalidNote("it has too many signatures")
    return Note(text + "\n", tuple(_parse_signature(line) for line in lines))


def verify_note(data: str, verifiers: Iterable[Verifier]) -> tuple[str, list[Verifier]]:
    """The note's text, and those who signed it. Raises InvalidNote if nobody did, or a known key's signature is bad."""
    note = parse_note(data)
    known = {(v.name, v.key_id): v for v in verifiers}
    by: list[Verifier] = []
    for line in note.signatures:
        verifier = known.get((line.name, line.key_id))
        if verifier is None:
            continue
        if not verifier.is_by(line.signature, note.text.encode()):
            raise InvalidNote(f"the signature by {line.name} ({line.key_id.hex()}) is not of this text")
        by.append(verifier)
    if not by:
        raise InvalidNote("no key that is known here signed it")
    return note.text, by


def parse_tree_head(text: str) -> TreeHead:
    """Read the text of a note as a tree head. Raises InvalidNote."""
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() != "" or "" in lines or not DECIMAL.fullmatch(lines[1]):
        raise InvalidNote("it is not a tree head: a tree head has an origin, a size and a root, one line each")
    size, root = int(lines[1]), _unbase64(lines[2])
    if len(root) != HASH_BYTES or size > MAX_SIZE:
        raise InvalidNote("its root is not 32 bytes in base64, or its size is too large")
    return TreeHead(lines[0], size, root, tuple(lines[3:]))


def _parse_signature(line: str) -> Signature:
    match = SIGNATURE.fullmatch(line)
    blob = _unbase64(match["blob"]) if match else b""
    if match is None or len(blob) < 5:
        raise InvalidNote("one of its signature lines cannot be read")
    return Signature(match["name"], blob[:4], blob[4:])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    """Strictly: what decodes has one spelling. b"" for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _base64(data) == text else b""


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
