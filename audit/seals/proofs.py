"""Proofs that a subject's events are in the log that a signed head stands for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.seals.merkle import consistency_proof, inclusion_proof
from audit.seals.models import Checkpoint, Leaf
from audit.seals.nodes import StoredNodes

BATCH = 1_000


@dataclass(frozen=True)
class Proofs:
    """`checkpoint`: the signed note, "" when nothing is sealed yet. `leaves`: {"seq", "log_index", "proof": [hex]} of
    each sealed event, by seq. `unsealed`: how many of the events up to the seq asked for are in no tree yet."""

    checkpoint: str
    leaves: list[dict[str, Any]]
    unsealed: int


def proofs_for(tenant: UUID, subject_id: UUID, upto_seq: int) -> Proofs:
    """The newest head, and the path to it of each event up to `upto_seq`. All at once: for many see `each_proof`."""
    head = newest(tenant)
    leaves = list(each_proof(tenant, subject_id, upto_seq, head)) if head else []
    return Proofs(head.note if head else "", leaves, upto_seq - len(leaves))


def newest(tenant: UUID) -> Checkpoint | None:
    return Checkpoint.objects.filter(tenant=tenant).order_by("-number").first()


def each_proof(tenant: UUID, subject_id: UUID, upto_seq: int, head: Checkpoint) -> Iterator[dict[str, Any]]:
    """The leaves of `Proofs` one by one, in memory that does not grow with the subject: {"seq", "log_index", "proof"}.

    All lead to the same head, so a pack that is written while the log grows is whole. Raises LookupError where the
    stored tree has holes.
    """
    nodes = StoredNodes(tenant)
    sealed = Leaf.objects.filter(tenant=tenant, subject_id=subject_id, seq__lte=upto_seq, log_index__lt=head.size)
    for seq, log_index in sealed.order_by("seq").values_list("seq", "log_index").iterator(chunk_size=BATCH):
        proof = [part.hex() for part in inclusion_proof(log_index, head.size, nodes)]
        yield {"seq": seq, "log_index": log_index, "proof": proof}


def consistency_between(tenant: UUID, first: int, second: int) -> list[bytes]:
    """That the log of `first` entries is the beginning of that of `second`, from what is stored.

    Raises ValueError unless 0 < first <= second, LookupError beyond the log and where the stored tree has holes.
    """
    return consistency_proof(first, second, StoredNodes(tenant))
