"""canonical(): RFC 8785 bytes on both of its roads."""

import csv
import json
import struct

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.log.canonical_json import CanonicalizationError, canonical, digest_of
from tests.support.vectors import vectors

VECTORS = vectors("rfc8785-jcs")

texts = st.text(st.characters(exclude_categories=["Cs"]))
integers = st.integers(-(2**53) + 1, 2**53 - 1)
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values)
def test_any_value_has_the_bytes_of_the_reference_encoder(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(texts, integers | texts))
def test_flat_facts_have_the_bytes_of_the_reference_encoder(value):
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
def test_the_published_documents_come_out_byte_for_byte(name):
    value = json.loads((VECTORS / "input" / f"{name}.json").read_text(encoding="utf-8"))
    assert canonical(value) == bytes.fromhex((VECTORS / "outhex" / f"{name}.txt").read_text())


def test_the_published_numbers_come_out_byte_for_byte():
    with (VECTORS / "es6numbers-3500.csv").open(newline="") as file:
        for bits, expected in csv.reader(file):
            number = struct.unpack(">d", int(bits, 16).to_bytes(8, "big"))[0]
            assert canonical(number) == expected.encode(), bits


@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("inf"), "\ud800", {"\ud800": 1}, b"x", {1: 2}])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(CanonicalizationError):
        canonical(value)
    with pytest.raises(CanonicalizationError):
        canonical({"inside": [value]})


def test_endless_nesting_is_refused_rather_than_crashing():
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CanonicalizationError, match="nested"):
        canonical(value)


def test_the_digest_is_the_sha256_of_the_canonical_bytes():
    # printf '{"a":[],"b":1}' | sha256sum
    assert digest_of({"b": 1, "a": []}) == "1c8f8816506a8ccbc55140d8a7bb70214a8942c7030fc0fc2914cec675cd1c15"
