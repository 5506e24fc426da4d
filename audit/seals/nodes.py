"""The nodes of a stored tree, from its tiles; what is in no tile yet, at most 255 hashes a level, from its rows."""

from collections import OrderedDict
from uuid import UUID

from audit.seals.merkle import HASH_BYTES, node_hash
from audit.seals.models import TILE, Leaf, Tile

MOST_TILES = 512  # kept in memory: about 30 MB
LEVELS = 8  # of the tree, in a tile


class StoredNodes:
    """`nodes(level, index)`, as `audit.seals.merkle` wants them. A query or two for each tile that is not at hand."""

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
            self._tiles[key] = folded(self._hashes(level, n))
            if len(self._tiles) > MOST_TILES:
                self._tiles.popitem(last=False)
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def _hashes(self, level: int, n: int) -> list[bytes]:
        """The tile's hashes; fewer than 256 while it grows, up to the first that is missing."""
        whole = Tile.objects.filter(tenant=self.tenant, level=level, n=n).values_list("hashes", flat=True).first()
        if whole is not None:
            return split(bytes(whole))
        first = n * TILE
        if level == 0:
            rows = Leaf.objects.filter(tenant=self.tenant, log_index__range=(first, first + TILE - 1))
            found = list(rows.order_by("log_index").values_list("log_index", "hash"))
        else:
            below = Tile.objects.filter(tenant=self.tenant, level=level - 1, n__range=(first, first + TILE - 1))
            found = list(below.order_by("n").values_list("n", "root"))
        return [bytes(digest) for place, (at, digest) in enumerate(found) if at == first + place]


def split(packed: bytes) -> list[bytes]:
    return [packed[n : n + HASH_BYTES] for n in range(0, len(packed), HASH_BYTES)]


def folded(hashes: list[bytes]) -> list[list[bytes]]:
    """These hashes, and the complete nodes above them, level by level: 256 have nine levels."""
    rows = [hashes]
    while len(rows[-1]) > 1:
        below = rows[-1]
        rows.append([node_hash(below[n], below[n + 1]) for n in range(0, len(below) - 1, 2)])
    return rows
