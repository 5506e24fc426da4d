"""Merkle trees of RFC 9162 (hashes as in RFC 6962): grow one, prove what is in it, check others' proofs. Pure.

A tree is known by its size and root. To grow it only its frontier is needed: the roots of the complete subtrees it
consists of, at most 64 hashes. To prove, `Nodes` gives the roots of complete subtrees: `nodes(level, index)` is that
over the leaves `index << level` up to `(index + 1) << level`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_SIZE = 2**63 - 1
Nodes = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass
class Frontier:
    """A growing tree: its size, and the roots of its complete subtrees, the largest first."""

    size: int = 0
    roots: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> None:
        """Add one leaf, by its hash."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.roots.pop(), leaf)
            size >>= 1
        self.roots.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        if not self.roots:
            return EMPTY_ROOT
        found = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            found = node_hash(left, found)
        return found

    def copy(self) -> "Frontier":
        return Frontier(self.size, list(self.roots))

    def packed(self) -> bytes:
        return b"".join(self.roots)

    @classmethod
    def unpacked(cls, size: int, packed: bytes) -> "Frontier":
        """Undo `packed`. Raises ValueError when there are not as many roots as a tree of this size has."""
        if len(packed) != HASH_BYTES * size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees")
        return cls(size, [packed[n : n + HASH_BYTES] for n in range(0, len(packed), HASH_BYTES)])

    @classmethod
    def at(cls, size: int, nodes: Nodes) -> "Frontier":
        """The frontier of the first `size` leaves of a tree whose nodes are known."""
        return cls(size, [nodes(level, index) for level, index in _complete(0, size)])


def root_of(size: int, nodes: Nodes) -> bytes:
    return _hash_of(0, size, nodes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The path from a leaf to the root of the tree of that size (RFC 9162 2.1.3.1). Raises ValueError outside of it."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} among {size}")
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_hash_of(middle, high, nodes))
            high = middle
        else:
            proof.append(_hash_of(low, middle, nodes))
            low = middle
    return proof[::-1]


def consistency_proof(first: int, second: int, nodes: Nodes) -> list[bytes]:
    """That the tree of `first` leaves is the beginning of that of `second` (2.1.4.1). Raises ValueError for others."""
    if not 0 < first <= second:
        raise ValueError(f"a tree of {first} leaves is no beginning of one of {second}")
    proof: list[bytes] = []
    low, high, is_whole = 0, second, True
    while first < high:
        middle = low + _split(high - low)
        if first <= middle:
            proof.append(_hash_of(middle, high, nodes))
            high = middle
        else:
            proof.append(_hash_of(low, middle, nodes))
            low, is_whole = middle, False
    if not is_whole:
        proof.append(_hash_of(low, high, nodes))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof leads from the leaf's hash at this index to the root (2.1.3.2)."""
    if not 0 <= index < size or any(len(part) != HASH_BYTES for part in proof):
        return False
    at, last, found = index, size - 1, leaf
    for part in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(part, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, part)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(first: int, second: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows the tree of `first` leaves to be the beginning of that of `second` (2.1.4.2)."""
    if not 0 < first <= second or any(len(part) != HASH_BYTES for part in proof):
        return False
    if first == second:
        return not proof and root1 == root2
    path = [root1, *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    found1 = found2 = path[0]
    for part in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            found1, found2 = node_hash(part, found1), node_hash(part, found2)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found2 = node_hash(found2, part)
        at, last = at >> 1, last >> 1
    return last == 0 and found1 == root1 and found2 == root2


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _complete(low: int, high: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees that the leaves from `low` up to `high` consist of; `low` is where a subtree begins."""
    while low < high:
        level = (high - low).bit_length() - 1
        yield level, low >> level
        low += 1 << level


def _hash_of(low: int, high: int, nodes: Nodes) -> bytes:
    """The hash over a range of leaves, as the tree has it."""
    found = [nodes(level, index) for level, index in _complete(low, high)]
    result = found[-1]
    for left in reversed(found[:-1]):
        result = node_hash(left, result)
    return result
