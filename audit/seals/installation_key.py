"""The installation's keys (KEK), and what is wrapped under them: AES-256-GCM, bound to whom it belongs to.

What is wrapped reads `1 | id of its KEK (8 bytes) | nonce (12) | ciphertext`. Under another binding it does not open.
"""

import base64
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from audit.errors import Problem

FORMAT = bytes([1])
RESTORE = "Start every process with the INTERLOCK_KEK that wrapped this key, or restore that KEK from a backup."
KEK_ID_BYTES, NONCE_BYTES = 8, 12


class Undecryptable(Problem):
    """This cannot be decrypted: it was changed, or it belongs to another tenant, record or key."""

    code = "undecryptable"


class MissingKey(Problem):
    """This tenant's key is wrapped under an installation key that this process does not have."""

    code = "missing_key"


def keks() -> list[bytes]:
    """The installation's keys. While they are being changed, the new one comes first, and wraps."""
    found = [getattr(settings, "INTERLOCK_KEK_NEW", ""), settings.INTERLOCK_KEK]
    return [base64.b64decode(text) for text in found if text]


def kek_id(kek: bytes) -> bytes:
    return hashlib.sha256(b"interlock kek id" + kek).digest()[:KEK_ID_BYTES]


def is_under(wrapped: bytes, kek: bytes) -> bool:
    return bytes(wrapped[1 : 1 + KEK_ID_BYTES]) == kek_id(kek)


def wrap(plaintext: bytes, bound_to: bytes, kek: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    header = FORMAT + kek_id(kek)
    return header + nonce + AESGCM(kek).encrypt(nonce, plaintext, header + bound_to)


def unwrap(wrapped: bytes, bound_to: bytes, known: tuple[bytes, ...]) -> bytes:
    """Undo `wrap` with whichever of these keys it was. Raises MissingKey, Undecryptable."""
    start = 1 + KEK_ID_BYTES
    header = wrapped[:start]
    kek = next((kek for kek in known if kek_id(kek) == header[1:]), None)
    if header[:1] != FORMAT or kek is None:
        raise MissingKey(remedies=[RESTORE])
    nonce, ciphertext = wrapped[start : start + NONCE_BYTES], wrapped[start + NONCE_BYTES :]
    try:
        return AESGCM(kek).decrypt(nonce, ciphertext, header + bound_to)
    except (InvalidTag, ValueError):
        raise Undecryptable from None
