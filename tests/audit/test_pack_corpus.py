"""Packs that were made by earlier releases verify as long as there is a verifier. Never regenerate these files."""

import base64
import io
import json
from pathlib import Path

import pytest

from audit.verify import Broken, canonical_bytes, read_key, verify_file
from tests.audit.packs import Stranger, encoded, members_of

CORPUS = Path(__file__).parent / "corpus"
KEY = (CORPUS / "key.txt").read_text().strip()
HOLDS = {
    "full.zip": "verified, signed by key",
    "external.zip": "verified, signed by key",
    "erased.zip": "verified, signed by key",
}


def test_every_pack_is_tried():
    assert {path.name for path in CORPUS.glob("*.zip")} == set(HOLDS)


@pytest.mark.parametrize("name", HOLDS)
def test_a_pack_of_then_verifies_now(name):
    with (CORPUS / name).open("rb") as file:
        assert str(verify_file(file, [read_key(KEY)])).startswith(HOLDS[name])


@pytest.mark.parametrize("name", HOLDS)
def test_and_a_changed_one_does_not(name, tmp_path):
    data = bytearray((CORPUS / name).read_bytes())
    other = tmp_path / name
    for n in range(0, len(data), 101):
        data[n] ^= 4
        other.write_bytes(data)
        with other.open("rb") as file, pytest.raises(Broken):
            verify_file(file)
        data[n] ^= 4


def test_a_pack_with_another_signature_is_refused():
    files = members_of((CORPUS / "full.zip").read_bytes())
    envelope = json.loads(files["attestation.json"])
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    files["attestation.json"] = canonical_bytes(envelope)
    with pytest.raises(Broken, match="bad_signature"):
        verify_file(io.BytesIO(encoded(list(files.items()))))


def test_a_pack_that_another_key_signed_is_refused_by_whoever_has_ours():
    with (CORPUS / "full.zip").open("rb") as file, pytest.raises(Broken, match="unknown_signer"):
        verify_file(file, [Stranger().key])
