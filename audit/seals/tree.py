"""The stored Merkle tree of a tenant: its nodes, the tiles that it completes, proofs from it."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Q

from audit.models.seals import TILE, Leaf, SignedTreeHead, Tile
from audit.verify.merkle import HASH_BYTES, consistency_proof, inclusion_proof, node_hash

MAX_TILES = 512  # kept in memory: about 30 MB
LEVELS = 8  # of the tree, in a tile


class StoredNodes:
    """`nodes(level, index)`, as `audit.verify.merkle` wants them. A query or two for each tile that is not at hand."""

    def __init__(self, tenant: UUID) -> None:
        self.tenant = tenant
        self._tiles: OrderedDict[tuple[int, int], list[list[bytes]]] = OrderedDict()

    def __call__(self, level: int, index: int) -> bytes:
        """Raises LookupError when the tree has no such node."""
        tile_level, inside = divmod(level, LEVELS)
        n, place = divmod(index, TILE >> inside)
        rows = self._tile(tile_level, n)
        if inside >= len(rows) or place >= len(rows[inside]):
            raise LookupError(f"there is no node {index} on level {level}")
        return rows[inside][place]

    def _tile(self, level: int, n: int) -> list[list[bytes]]:
        key = (level, n)
        if key not in self._tiles:
            self._tiles[key] = build_levels(self._hashes(level, n))
            if len(self._tiles) > MAX_TILES:
                self._tiles.popitem(last=False)
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def _hashes(self, level: int, n: int) -> list[bytes]:
        """The tile's hashes; fewer than 256 while it grows, up to the first that is missing."""
        whole = Tile.objects.filter(tenant=self.tenant, level=level, n=n).values_list("hashes", flat=True).first()
        if whole is not None:
            return split_hashes(bytes(whole))
        first = n * TILE
        if level == 0:
            rows = Leaf.objects.filter(tenant=self.tenant, log_index__range=(first, first + TILE - 1))
            found = list(rows.order_by("log_index").values_list("log_index", "hash"))
        else:
            below = Tile.objects.filter(tenant=self.tenant, level=level - 1, n__range=(first, first + TILE - 1))
            found = list(below.order_by("n").values_list("n", "root"))
        return [bytes(digest) for place, (at, digest) in enumerate(found) if at == first + place]


def split_hashes(packed: bytes) -> list[bytes]:
    return [packed[n : n + HASH_BYTES] for n in range(0, len(packed), HASH_BYTES)]


def build_levels(hashes: list[bytes]) -> list[list[bytes]]:
    """These hashes, and the complete nodes above them, level by level: 256 have nine levels."""
    rows = [hashes]
    while len(rows[-1]) > 1:
        below = rows[-1]
        rows.append([node_hash(below[n], below[n + 1]) for n in range(0, len(below) - 1, 2)])
    return rows


# The tiles that trees complete while they grow.


TreeGrowth = Mapping[UUID, tuple[int, Sequence[tuple[Any, ...]]]]


def completed_tiles(grown: TreeGrowth) -> list[tuple[UUID, int, int, bytes, bytes]]:
    """Rows of the tiles that these trees complete: {tenant: (size before, new leaves, each ending in its hash)}.

    One statement for the leaves that came before, none if no tile is completed; one more where a tile of a higher
    level is, every 65,536 leaves.
    """
    whole = {t: (size, new) for t, (size, new) in grown.items() if size // TILE < (size + len(new)) // TILE}
    before = _leaves_before({t: size for t, (size, _) in whole.items()})
    rows: list[tuple[UUID, int, int, bytes, bytes]] = []
    for tenant, (size, new) in whole.items():
        hashes = [*before.get(tenant, []), *(bytes(leaf[-1]) for leaf in new)]
        level, first = 0, size // TILE
        while len(hashes) >= TILE:
            made = [
                _tile(tenant, level, first + n, hashes[n * TILE : (n + 1) * TILE]) for n in range(len(hashes) // TILE)
            ]
            rows += made
            level, first, hashes = (
                level + 1,
                first // TILE,
                [*_roots_before(tenant, level, first), *(r[-1] for r in made)],
            )
    return rows


def _tile(tenant: UUID, level: int, n: int, hashes: list[bytes]) -> tuple[UUID, int, int, bytes, bytes]:
    return tenant, level, n, b"".join(hashes), build_levels(hashes)[-1][0]


def _leaves_before(sizes: dict[UUID, int]) -> dict[UUID, list[bytes]]:
    """The leaves of tiles that were begun before."""
    begun = {tenant: size for tenant, size in sizes.items() if size % TILE}
    found: dict[UUID, list[bytes]] = {}
    if begun:
        wanted = [Q(tenant=t, log_index__gte=size - size % TILE, log_index__lt=size) for t, size in begun.items()]
        rows = Leaf.objects.filter(reduce(or_, wanted)).order_by("tenant", "log_index")
        for tenant, digest in rows.values_list("tenant", "hash"):
            found.setdefault(tenant, []).append(bytes(digest))
    return found


def _roots_before(tenant: UUID, level: int, n: int) -> list[bytes]:
    """The roots of the tiles of this level that stand before tile `n` in the tile above."""
    if n % TILE == 0:
        return []
    rows = Tile.objects.filter(tenant=tenant, level=level, n__gte=n - n % TILE, n__lt=n).order_by("n")
    return [bytes(root) for root in rows.values_list("root", flat=True)]


# Proofs that a subject's events are in the log that a signed head stands for.


BATCH = 1_000


@dataclass(frozen=True)
class Proofs:
    """`signed_head`: the signed note, "" when nothing is sealed yet. `leaves`: {"seq", "log_index", "proof": [hex]} of
    each sealed event, by seq. `unsealed`: how many of the events up to the seq asked for are in no tree yet."""

    signed_head: str
    leaves: list[dict[str, Any]]
    unsealed: int


def proofs_for(tenant: UUID, subject_id: UUID, upto_seq: int) -> Proofs:
    """The newest head, and the path to it of each event up to `upto_seq`. All at once: for many see
    `iterate_proofs`.
    """
    head = newest_head(tenant)
    leaves = list(iterate_proofs(tenant, subject_id, upto_seq, head)) if head else []
    return Proofs(head.note if head else "", leaves, upto_seq - len(leaves))


def newest_head(tenant: UUID) -> SignedTreeHead | None:
    return SignedTreeHead.objects.filter(tenant=tenant).order_by("-number").first()


def iterate_proofs(tenant: UUID, subject_id: UUID, upto_seq: int, head: SignedTreeHead) -> Iterator[dict[str, Any]]:
    """The leaves of `Proofs` one by one, in memory that does not grow with the subject: {"seq", "log_index", "proof"}.

    All lead to the same head, so a pack that is written while the log grows is whole. Raises LookupError where the
    stored tree has holes.
    """
    nodes = StoredNodes(tenant)
    sealed = Leaf.objects.filter(tenant=tenant, subject_id=subject_id, seq__lte=upto_seq, log_index__lt=head.size)
    for seq, log_index in sealed.order_by("seq").values_list("seq", "log_index").iterator(chunk_size=BATCH):
        proof = [part.hex() for part in inclusion_proof(log_index, head.size, nodes)]
        yield {"seq": seq, "log_index": log_index, "proof": proof}


def prove_consistency(tenant: UUID, first: int, second: int) -> list[bytes]:
    """That the log of `first` entries is the beginning of that of `second`, from what is stored.

    Raises ValueError unless 0 < first <= second, LookupError beyond the log and where the stored tree has holes.
    """
    return consistency_proof(first, second, StoredNodes(tenant))
