"""Envelope encryption: installation key (KEK) → each tenant's wrapped data key (DEK) → AES-256-GCM.

A wrapped key is `1 | id of its KEK (8 bytes) | nonce (12) | ciphertext`, bound to its tenant. A blob is
`1 | DEK generation (1) | nonce (12) | ciphertext`, bound to its tenant, context and those two numbers: under another
tenant or context it does not decrypt. Changing the KEK re-wraps the DEKs and touches no blob (`manage.py rotate_keys`).
"""

import os
from functools import lru_cache
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from audit.seals import installation_key as installation
from audit.seals.installation_key import NONCE_BYTES, MissingKey, Undecryptable, keks
from tenants.models import Tenant

__all__ = ["MissingKey", "Undecryptable", "decrypt", "encrypt", "keks", "mask_key", "new_wrapped_key", "unwrap", "wrap"]
FORMAT, GENERATION = 1, 1
HEADER = bytes([FORMAT, GENERATION])


def encrypt(tenant: Tenant | UUID, plaintext: bytes, context: str) -> bytes:
    """Encrypt under the tenant's key, for this context only. A query only where `tenant` is an id or has no key yet."""
    key, tenant_id = _key(tenant)
    nonce = os.urandom(NONCE_BYTES)
    return HEADER + nonce + AESGCM(key).encrypt(nonce, plaintext, _bound_to(HEADER, tenant_id, context))


def decrypt(tenant: Tenant | UUID, blob: bytes, context: str) -> bytes:
    """Undo `encrypt` with the same tenant and context. Raises Undecryptable, MissingKey."""
    header, nonce, ciphertext = blob[:2], blob[2 : 2 + NONCE_BYTES], blob[2 + NONCE_BYTES :]
    if header != HEADER or len(ciphertext) < 16:
        raise Undecryptable
    key, tenant_id = _key(tenant)
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, _bound_to(header, tenant_id, context))
    except InvalidTag:
        raise Undecryptable from None


def mask_key(tenant: Tenant | UUID) -> bytes:
    """32 bytes of the tenant's own, for fingerprints of masked secrets. Changes with no rotation of the KEK."""
    return _derived(_key(tenant)[0], b"interlock mask v1")


def new_wrapped_key(tenant_id: UUID) -> bytes:
    """A fresh data key, wrapped under the installation's key."""
    return wrap(os.urandom(32), tenant_id, keks()[0])


def wrap(key: bytes, tenant_id: UUID, kek: bytes) -> bytes:
    return installation.wrap(key, tenant_id.bytes, kek)


def unwrap(wrapped: bytes, tenant_id: UUID) -> bytes:
    """The data key, from whichever of this process's installation keys wrapped it. Raises MissingKey, Undecryptable."""
    return _unwrap(wrapped, tenant_id, tuple(keks()))


def _key(tenant: Tenant | UUID) -> tuple[bytes, UUID]:
    tenant_id = tenant if isinstance(tenant, UUID) else tenant.pk
    wrapped = None if isinstance(tenant, UUID) else tenant.wrapped_key
    return unwrap(bytes(wrapped or _stored(tenant_id)), tenant_id), tenant_id


def _stored(tenant_id: UUID) -> bytes:
    """The wrapped key in the database, made on first need. Two that come at once end with the same one."""
    row = Tenant.objects.filter(pk=tenant_id)
    found = row.values_list("wrapped_key", flat=True).get()
    if found is None:
        row.filter(wrapped_key=None).update(wrapped_key=new_wrapped_key(tenant_id))
        found = row.values_list("wrapped_key", flat=True).get()
    return bytes(found or b"")


@lru_cache(maxsize=256)
def _unwrap(wrapped: bytes, tenant_id: UUID, known: tuple[bytes, ...]) -> bytes:
    return installation.unwrap(wrapped, tenant_id.bytes, known)


@lru_cache(maxsize=256)
def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)


def _bound_to(header: bytes, tenant_id: UUID, context: str) -> bytes:
    return header + tenant_id.bytes + context.encode()
