"""How the events of a pack hang on a signed head of their tenant's log."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from audit.errors import NotFound
from audit.evidence.spool import Member, Spool
from audit.seals.keys import public_keys
from audit.seals.merkle import inclusion_proof
from audit.seals.models import Checkpoint, Leaf
from audit.seals.nodes import StoredNodes
from audit.seals.sealer import seal
from audit.verify.strict import plain

MAX_PROOFS = 2_000
"""Of the newest sealed events. The chain binds all before them: each event holds the hash of the one before it."""


@dataclass(frozen=True)
class Seal:
    """keys.json, head.txt and proofs.jsonl. `upto`: the event up to which the head covers the subject, 0 for none."""

    members: tuple[Member, ...]
    upto: int
    note: str
    size: int
    key_ids: tuple[str, ...]


def seal_of(tenant: UUID, subject_id: UUID, seq: int, head_size: int | None = None) -> Seal:
    """Proofs to the first head that covers event `seq`, so that the same events give the same bytes ever after.

    With `head_size`, to the head of that size. What is not sealed yet is sealed now, if nobody else is at it; else the
    newest head has to do. Raises NotFound when there is no head of that size.
    """
    leaves = Leaf.objects.filter(tenant=tenant, subject_id=subject_id, seq__lte=seq)
    newest = leaves.order_by("-seq").first()
    if newest is None or newest.seq < seq:
        seal()
        newest = leaves.order_by("-seq").first()
    heads = Checkpoint.objects.filter(tenant=tenant)
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
    for line in _proofs(tenant, head, [(leaf.seq, leaf.log_index) for leaf in covered.order_by("-seq")[:MAX_PROOFS]]):
        proofs.line(line)
    note = head.note if head and last else ""
    members = (
        Member.of("keys.json", plain(keys)), Member.of("head.txt", note.encode()), proofs.member("proofs.jsonl"),
    )  # fmt: skip
    size = head.size if head and last else 0
    return Seal(members, last.seq if last else 0, note, size, tuple(str(key["key_id"]) for key in keys))


def _proofs(tenant: UUID, head: Checkpoint | None, places: list[tuple[int, int]]) -> Iterator[bytes]:
    if head is None:
        return
    nodes = StoredNodes(tenant)
    for seq, log_index in sorted(places):
        path = [part.hex() for part in inclusion_proof(log_index, head.size, nodes)]
        yield plain({"seq": seq, "log_index": log_index, "proof": path})
