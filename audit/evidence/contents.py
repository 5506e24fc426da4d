"""The files of a pack: how they are spooled, what other floors contribute, what is withheld from whom.

Also the signed statement (in-toto in DSSE), and the proofs that lead the pack's events to a signed tree head.
"""

import base64
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models.auditor import Audience
from audit.models.seals import Leaf, SignedTreeHead
from audit.seals.keys import public_keys
from audit.seals.sealer import seal
from audit.seals.tree import StoredNodes
from audit.verify.events import canonical_bytes, statement_json
from audit.verify.merkle import inclusion_proof
from audit.verify.signatures import PAYLOAD_TYPE, pae

IN_MEMORY_BYTES = 1 << 20
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Member:
    """A file of the pack; `pieces()` gives its bytes, as often as asked."""

    path: str
    size: int
    crc: int
    sha256: str
    pieces: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, path: str, content: bytes) -> "Member":
        digest = hashlib.sha256(content).hexdigest()
        return cls(path, len(content), zlib.crc32(content), digest, lambda: iter((content,)))

    @classmethod
    def measured(cls, path: str, pieces: Callable[[], Iterator[bytes]]) -> "Member":
        """A file whose bytes stay where they are; read once here."""
        size, crc, sha256 = 0, 0, hashlib.sha256()
        for piece in pieces():
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            sha256.update(piece)
        return cls(path, size, crc, sha256.hexdigest(), pieces)

    def listed(self) -> dict[str, str | int]:
        """How the statement lists it."""
        return {"path": self.path, "sha256": self.sha256, "size": self.size}

    def content(self) -> bytes:
        return b"".join(self.pieces())


class Spool:
    """A file that is being written."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  closed with the last member of it
        self.size, self.crc, self.sha256 = 0, 0, hashlib.sha256()

    def __del__(self) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.size, self.crc = self.size + len(data), zlib.crc32(data, self.crc)
        self.sha256.update(data)

    def line(self, data: bytes) -> None:
        self.write(data + b"\n")

    def member(self, path: str) -> Member:
        """What was written, as a file of the pack. Nothing may be written afterwards."""
        return Member(path, self.size, self.crc, self.sha256.hexdigest(), self._pieces)

    def _pieces(self) -> Iterator[bytes]:
        at = 0
        while at < self.size:
            self.file.seek(at)
            piece = self.file.read(PIECE_BYTES)
            at += len(piece)
            yield piece


# Contributions of floors above to the evidence about their subjects.


@dataclass(frozen=True)
class Contribution:
    """`files`: (name, content, kind) below `context/`; the kind is what a redaction calls it. `facts`: (label, text)
    under the report's title. Neither may hold secrets, or anything that the reader of a full pack may not see."""

    files: tuple[tuple[str, bytes, str], ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())


Contributor = Callable[[UUID, Subject], Contribution]
_contributors: dict[str, list[Contributor]] = {}


def register_contributor(kind: str, fn: Contributor) -> None:
    """Let `fn(tenant, subject)` add to packs about subjects of this kind. It must give the same bytes every time."""
    if fn not in _contributors.setdefault(kind, []):
        _contributors[kind].append(fn)


def contributions(tenant: UUID, subject: Subject) -> Iterable[Contribution]:
    """What is registered for this kind of subject, in the order of registration."""
    return [fn(tenant, subject) for fn in _contributors.get(subject.kind, [])]


# Audiences: what is withheld from whom.


FULL = "full"
BUILT_IN: dict[str, tuple[str, ...]] = {
    FULL: (),
    "external": ("people", "private:*", "artifact:log", "context:*"),
}
"""`people`: their names. `private:NAME`, `private:*`: what people wrote. `artifact:KIND`: plan, changes, log,
verification, other. `context:KIND`, `context:*`: what other parts of Interlock contributed."""
WITHHELD_KINDS = ("people", "private", "artifact", "context")


@dataclass(frozen=True)
class Redaction:
    """What is withheld from one audience, as words of BUILT_IN."""

    audience: str
    withheld: frozenset[str]

    def withholds(self, kind: str, name: str = "") -> bool:
        return bool({kind, f"{kind}:*", f"{kind}:{name}"} & self.withheld)


NOTHING_WITHHELD = Redaction(FULL, frozenset())


def redaction_for(tenant: UUID, audience: str) -> Redaction:
    """The tenant's own rule for this audience, else the built-in one. Raises NotFound. One query, none for `full`."""
    if audience == FULL:
        return NOTHING_WITHHELD
    stored = Audience.objects.filter(tenant=tenant, name=audience).first()
    if stored is not None:
        return Redaction(audience, frozenset(stored.withheld))
    if audience not in BUILT_IN:
        raise NotFound
    return Redaction(audience, frozenset(BUILT_IN[audience]))


def audiences(tenant: UUID) -> list[Redaction]:
    """Everyone a pack can be made for, `full` first. One query."""
    rules = {name: frozenset(words) for name, words in BUILT_IN.items()}
    rules.update({row.name: frozenset(row.withheld) for row in Audience.objects.filter(tenant=tenant).order_by("name")})
    return [Redaction(name, words) for name, words in rules.items()]


def check_withheld(words: list[str]) -> list[str]:
    """Sorted, each once. Raises Invalid for what names nothing that could be withheld."""
    for word in words:
        kind, _, name = word.partition(":")
        if kind not in WITHHELD_KINDS or (kind == "people") == bool(name) or len(word) > 80:
            raise Invalid(
                f"{word[:80]!r} cannot be withheld.",
                remedies=["Use people, private:NAME, private:*, artifact:KIND, context:KIND or context:*."],
            )
    return sorted(set(words))


def set_audience(tenant: UUID, name: str, withheld: list[str], by: str, correlation_id: str = "") -> Redaction:
    """Keep the tenant's rule for an audience; leaves an event on the tenant. Raises Invalid."""
    if name == FULL or len(name) > 32:
        raise Invalid("Choose another name: `full` always withholds nothing, and a name has at most 32 characters.")
    words = check_withheld(withheld)
    with transaction.atomic():
        Audience.objects.update_or_create(tenant=tenant, name=name, defaults={"withheld": words})
        facts = {"audience": name, "withheld": words}
        record(
            NewEvent(tenant, Subject("tenant", tenant), "evidence.audience_changed", by, "ok", correlation_id, facts)
        )
    return Redaction(name, frozenset(words))


# The signed statement, and the proofs.


Signer = tuple[str, Callable[[bytes], bytes]]  # key id, and what signs bytes with that key


def sign_statement(about: dict[str, Any], files: Sequence[dict[str, Any]], signers: Sequence[Signer]) -> bytes:
    """The bytes of attestation.json: what the pack is about and lists, signed by each signer once."""
    signers = sorted(signers, key=lambda signer: signer[0])
    payload = statement_json({**about, "signers": [key_id for key_id, _ in signers]}, files)
    signed = [{"keyid": key_id, "sig": _base64(sign(pae(payload)))} for key_id, sign in signers]
    return canonical_bytes({"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signed})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


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
