"""Trees and proofs, against RFC 6962's vectors and against a tree that is computed from all its leaves."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.verify.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.support.vectors import vectors

VECTORS = vectors("rfc6962-merkle")
SOME = settings(max_examples=40, deadline=None, derandomize=True, database=None)
SIZES = st.integers(1, 300)


def of(name: str) -> list:
    return [
        pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted((VECTORS / name).rglob("*.json"))
    ]


def unpacked(value: str | None) -> bytes:
    return base64.b64decode(value or "")


@pytest.mark.parametrize("name", ["inclusion", "consistency"])
def test_published_proofs_are_accepted_and_refused_as_they_say(name):
    cases = [param.values[0] for param in of(name)]
    assert len(cases) == {"inclusion": 53, "consistency": 54}[name]
    for case in cases:
        proof = [unpacked(part) for part in case["proof"] or []]
        if name == "inclusion":
            ok = verify_inclusion(
                unpacked(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, unpacked(case["root"])
            )
        else:
            roots = unpacked(case["root1"]), unpacked(case["root2"])
            ok = verify_consistency(case["size1"], case["size2"], *roots, proof)
        assert ok == (not case["wantErr"]), case


def test_published_roots_come_out():
    known = json.loads((VECTORS / "roots.json").read_text())
    tree = Frontier()
    assert tree.root().hex() == EMPTY_ROOT.hex() == known["root_hex_by_size"][0]
    for leaf, root in zip(known["leaf_inputs_hex"], known["root_hex_by_size"][1:], strict=True):
        tree.append(leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == root


def brute(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 2.1.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(brute(leaves[:k]), brute(leaves[k:]))


LEAVES = [leaf_hash(str(n).encode()) for n in range(300)]


def nodes(level: int, index: int) -> bytes:
    return brute(LEAVES[index << level : (index + 1) << level])


@SOME
@given(SIZES)
def test_a_grown_tree_has_the_root_of_all_its_leaves(size):
    tree = Frontier()
    tree.extend(LEAVES[:size])
    assert tree.root() == brute(LEAVES[:size]) == root_of(size, nodes)
    assert Frontier.unpacked(size, tree.packed()) == tree == Frontier.at(size, nodes)


@SOME
@given(SIZES, st.data())
def test_every_leaf_is_proved_and_only_in_its_place(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(index, size, nodes), brute(LEAVES[:size])
    assert verify_inclusion(LEAVES[index], index, size, proof, root)
    assert not verify_inclusion(LEAVES[index], (index + 1) % size, size, proof, root) or size == 1
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
    assert not verify_inclusion(LEAVES[index], index, size, [*proof, root], root)
    assert not proof or not verify_inclusion(LEAVES[index], index, size, proof[:-1], root)


@SOME
@given(SIZES, st.data())
def test_a_tree_is_proved_to_be_the_beginning_of_another(size, data):
    first = data.draw(st.integers(1, size))
    proof = consistency_proof(first, size, nodes)
    old, new = brute(LEAVES[:first]), brute(LEAVES[:size])
    assert verify_consistency(first, size, old, new, proof)
    other = brute([*LEAVES[: first - 1], leaf_hash(b"other")])
    assert not verify_consistency(first, size, other, new, proof)
    assert not verify_consistency(first, size, old, other, proof)


def test_what_is_no_tree_is_refused():
    for attempt in (lambda: inclusion_proof(3, 3, nodes), lambda: consistency_proof(4, 3, nodes)):
        with pytest.raises(ValueError, match="leaves|leaf"):
            attempt()
    with pytest.raises(ValueError, match="complete subtrees"):
        Frontier.unpacked(3, b"\0" * 32)
    assert not verify_consistency(0, 3, EMPTY_ROOT, nodes(0, 0), [])
