"""The embedded set-up's own keys, made once."""

import base64
import json
import os
import secrets
from pathlib import Path


def generate_keys(path: Path) -> bool:
    """Write a signing key and a key-encryption key to `path` (mode 0600) unless it exists; True if made.

    Written whole and linked into place, so that a crash leaves no half file and two racing starts agree on one.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = {
        "secret_key": secrets.token_urlsafe(48),
        "kek": base64.b64encode(secrets.token_bytes(32)).decode(),
        "note": "Keep this file with your backups: without kek no encrypted value can be read again.",
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    finally:
        draft.unlink()
