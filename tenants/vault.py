"""Envelope encryption: installation key (KEK) → each tenant's wrapped data key (DEK) → AES-256-GCM.

A wrapped key is `1 | id of its KEK (8 bytes) | nonce (12) | ciphertext`, bound to its tenant. A blob is
`1 | DEK generation (1) | nonce (12) | ciphertext`, bound to its tenant, context and those two numbers: under another
tenant or context it does not decrypt. Changing the KEK re-wraps the DEKs and touches no blob (`manage.py rotate_keys`).
"""

import json
import os
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.db import transaction

from audit.log.events import NewEvent, record
from audit.seals import installation_key as installation
from audit.seals import keys as signing
from audit.seals.installation_key import NONCE_BYTES, MissingKey, Undecryptable, kek_id, keks
from tenants.audit_hooks.events import SETUP_ACTOR, tenant_subject
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
    """32 bytes of the tenant, for fingerprints of masked secrets. A rotation of the KEK does not change it."""
    return _derived(_key(tenant)[0], b"interlock mask v1")


def new_wrapped_key(tenant_id: UUID) -> bytes:
    """A new data key, wrapped under the installation's key."""
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


# Rotation of the installation's key: re-wrap every tenant's data key. No encrypted value changes.


def is_wrapped_under(tenant: Tenant, kek: bytes) -> bool:
    """Whether the tenant's data key is wrapped under this key (or there is none yet)."""
    return tenant.wrapped_key is None or installation.is_under(bytes(tenant.wrapped_key), kek)


def rewrap_tenant_keys(kek: bytes) -> tuple[int, int]:
    """Re-wrap keys under `kek`; return (changed, all). All or nothing: one transaction that locks the tenants.

    Event `tenant.key_rewrapped` for each that changed. Raises MissingKey when a data key cannot be opened.
    """
    with transaction.atomic():
        tenants = list(Tenant.objects.select_for_update().exclude(wrapped_key=None))
        behind = [tenant for tenant in tenants if not is_wrapped_under(tenant, kek)]
        for tenant in behind:
            key = unwrap(bytes(tenant.wrapped_key or b""), tenant.pk)
            tenant.wrapped_key = wrap(key, tenant.pk, kek)
            facts = {"kek": kek_id(kek).hex()}
            record(NewEvent(tenant.pk, tenant_subject(tenant), "tenant.key_rewrapped", SETUP_ACTOR, facts=facts))
        Tenant.objects.bulk_update(behind, ["wrapped_key"])
        signing.rewrap(kek)
    return len(behind), len(tenants)


def write_key_file(path: Path, **changes: str | None) -> None:
    """Replace values in the embedded set-up's key file (mode 0600) atomically; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({name: value for name, value in content.items() if value is not None}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
