"""Change the installation's key: wrap every tenant's data key anew. No encrypted value is touched."""

import json
import os
from pathlib import Path

from django.db import transaction

from audit.log.events import NewEvent, record
from audit.seals import installation_key as installation
from audit.seals import keys as signing
from audit.seals.installation_key import kek_id
from tenants.models import Tenant
from tenants.roles import SETUP, tenant_subject
from tenants.vault import unwrap, wrap


def is_under(tenant: Tenant, kek: bytes) -> bool:
    """Whether the tenant's data key is wrapped under this key (or there is none yet)."""
    return tenant.wrapped_key is None or installation.is_under(bytes(tenant.wrapped_key), kek)


def rewrap(kek: bytes) -> tuple[int, int]:
    """Wrap under `kek` what is not yet; return (changed, all). All or nothing: one transaction that locks the tenants.

    Event `tenant.key_rewrapped` for each that changed. Raises MissingKey when a data key cannot be opened.
    """
    with transaction.atomic():
        tenants = list(Tenant.objects.select_for_update().exclude(wrapped_key=None))
        behind = [tenant for tenant in tenants if not is_under(tenant, kek)]
        for tenant in behind:
            key = unwrap(bytes(tenant.wrapped_key or b""), tenant.pk)
            tenant.wrapped_key = wrap(key, tenant.pk, kek)
            facts = {"kek": kek_id(kek).hex()}
            record(NewEvent(tenant.pk, tenant_subject(tenant), "tenant.key_rewrapped", SETUP, facts=facts))
        Tenant.objects.bulk_update(behind, ["wrapped_key"])
        signing.rewrap(kek)
    return len(behind), len(tenants)


def write_keys(path: Path, **changes: str | None) -> None:
    """Replace values in the embedded set-up's key file (mode 0600), whole or not at all; None takes one out."""
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
