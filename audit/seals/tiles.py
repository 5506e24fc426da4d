"""The tiles that trees complete while they grow."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Q

from audit.seals.models import TILE, Leaf, Tile
from audit.seals.nodes import folded

Grown = Mapping[UUID, tuple[int, Sequence[tuple[Any, ...]]]]


def completed_tiles(grown: Grown) -> list[tuple[UUID, int, int, bytes, bytes]]:
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
    return tenant, level, n, b"".join(hashes), folded(hashes)[-1][0]


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
