"""Prepare an installation before it serves: schema, static files, first data, safe settings.

Run as `python -m config.run.prepare` by the launcher and the tests; each part does nothing when there is nothing to do.
"""

import hashlib
import os
import sys

import django
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core import checks
from django.core.management import call_command, get_commands
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from config.env import is_loopback


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    migrate()
    if refused := blocking_checks():
        print("These settings are not safe to run with:", *refused, sep="\n", file=sys.stderr)
        return 1
    collect_static()
    load_demo()
    return 0


def migrate() -> None:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        print_line(f"applying {len(plan)} migrations")
        call_command("migrate", verbosity=0, interactive=False)


def blocking_checks() -> list[str]:
    """Failed checks of ours, and errors of any check."""
    found = checks.run_checks(include_deployment_checks=True, databases=["default"])
    bad = [c for c in found if c.level >= (checks.WARNING if str(c.id).startswith("interlock.") else checks.ERROR)]
    for warning in (c for c in bad if c.level < checks.ERROR):
        print_line(f"{warning.msg} {warning.hint or ''}")
    return [f"  {c.msg}\n    {c.hint or ''}  [{c.id}]" for c in bad if c.level >= checks.ERROR]


def collect_static() -> None:
    """Build fonts and collect, hash and compress static files when any of them changed since the last time."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    if settings.INTERLOCK.static == "source":
        return
    call_command("build_assets", verbosity=0)
    stamp = settings.STATIC_ROOT / ".collected"
    now = static_digest()
    if stamp.exists() and stamp.read_text() == now:
        return
    print_line("collecting static files")
    call_command("collectstatic", verbosity=0, interactive=False, clear=True)
    stamp.write_text(now)


def static_digest() -> str:
    known = hashlib.sha256(settings.STORAGES["staticfiles"]["BACKEND"].encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            status = os.stat(storage.path(path))
            known.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return known.hexdigest()


def load_demo() -> None:
    """Load the demo into an installation that has no tenant yet; finish it if it was interrupted."""
    done, started = settings.INTERLOCK.var / "demo.done", settings.INTERLOCK.var / "demo.started"
    if not settings.INTERLOCK.demo or done.exists() or "demo" not in get_commands():
        return
    if not started.exists() and apps.get_model("tenants", "Tenant").objects.exists():
        return
    if not is_loopback(settings.INTERLOCK.bind):
        print_line(
            "no demo here: its passwords are published. `manage.py bootstrap` creates the first tenant and admin."
        )
        return
    print_line("loading the demo (once)")
    started.touch()
    call_command("demo")
    started.rename(done)


def print_line(text: str) -> None:
    print(f"{'interlock':<9} │ {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
