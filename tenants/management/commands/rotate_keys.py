import base64
import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from audit.seals.installation_key import kek_id
from tenants.vault import rewrap_tenant_keys, write_key_file

STEPS = """\
Nothing changed. To rotate the installation's key:

  1. Set INTERLOCK_KEK_NEW on every process, beside INTERLOCK_KEK, and restart them. A new key:
     {key}
  2. Run `manage.py rotate_keys` with both set. It re-wraps every tenant's key; no encrypted value changes.
  3. Set INTERLOCK_KEK to that key, remove INTERLOCK_KEK_NEW, restart. Keep the old key as long as backups need it.
"""


class Command(BaseCommand):
    """Never wraps under a key that is not yet stored where the processes will find it."""

    help = (
        "Wrap every tenant's data key under a new installation key (INTERLOCK_KEK_NEW). In the embedded set-up: stop "
        "Interlock first; the new key is created here and stored in the same file."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = settings.INTERLOCK.secrets_file
        if _stores_key(path):
            self._embedded(path)
        elif settings.INTERLOCK_KEK_NEW:
            self._report(rewrap_tenant_keys(base64.b64decode(settings.INTERLOCK_KEK_NEW)), settings.INTERLOCK_KEK_NEW)
            self.stdout.write("Now set INTERLOCK_KEK to the new key, remove INTERLOCK_KEK_NEW, and restart.")
        else:
            self.stdout.write(STEPS.format(key=_new_key()))

    def _embedded(self, path: Path) -> None:
        """The new key is in the file before anything is wrapped under it: a crash at any point loses nothing."""
        key = json.loads(path.read_text()).get("kek_new") or _new_key()
        write_key_file(path, kek_new=key)
        settings.INTERLOCK_KEK_NEW = key
        self._report(rewrap_tenant_keys(base64.b64decode(key)), key)
        write_key_file(path, kek=key, kek_new=None)
        self.stdout.write(f"{path} holds the new key: back it up. Start Interlock again.")

    def _report(self, done: tuple[int, int], key: str) -> None:
        name = kek_id(base64.b64decode(key)).hex()
        self.stdout.write(f"{done[0]} tenant keys re-wrapped; all {done[1]} are under the key {name}.")


def _stores_key(path: Path) -> bool:
    return path.exists() and json.loads(path.read_text()).get("kek") == settings.INTERLOCK_KEK


def _new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()
