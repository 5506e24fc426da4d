"""
Back up the database while everything runs, and restore it.

SQLite is copied by its own online backup, PostgreSQL by `pg_dump`; both give one consistent moment. Later runs are not
in it. So a restore ends every lease, and skips lease ids that a lost worker may still hold. Steps without a receipt are
probed, as after a crash, before anything runs.
"""

import hashlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

from django.core.management import call_command
from django.db import connection, transaction
from django.db.models.functions import Now

from actions.models import Lease
from audit.database.clock import database_time
from audit.log.events import NewEvent, record
from tenants.audit_hooks.events import tenant_subject
from tenants.models import Tenant

ACTOR = "system:restore"
LEASE_ID_LEAP = 1_000_000
"""Lease ids that are skipped after a restore: workers may have taken them since the backup."""
CHUNK = 1024 * 1024
PARAMETERS = {
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
EMPTY_FIRST = b"DROP SCHEMA IF EXISTS public CASCADE;\nCREATE SCHEMA public;\n"


class BackupFailed(Exception):
    """The backup or restore failed; the message says why and what to do. Nothing was changed."""


def back_up(path: Path, pg_bin: str = "") -> int:
    """Write the database into a new file that only its owner can read; return its bytes. Raises BackupFailed."""
    if path.exists():
        raise BackupFailed(f"{path} exists already. Name a new file.")
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        if connection.vendor == "sqlite":
            _copy(Path(connection.settings_dict["NAME"]), part)
        else:
            _run([_program("pg_dump", pg_bin), "--format=custom", "--no-owner", "--no-privileges", "--file", str(part)])
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path.stat().st_size


def restore(path: Path, pg_bin: str = "") -> None:
    """
    Replace the database with a backup, migrate it, and end all leases.

    The replacement is all or nothing. Stop every process of the installation first. Raises BackupFailed.
    """
    if not path.is_file():
        raise BackupFailed(f"There is no file {path}.")
    refuse_while_at_work()
    connection.close()
    if connection.vendor == "sqlite":
        _copy(path, Path(connection.settings_dict["NAME"]))
    else:
        _load(path, pg_bin)
    call_command("migrate", verbosity=0, interactive=False)
    end_leases(path)


def refuse_while_at_work() -> None:
    """Raise BackupFailed while a worker holds a live lease. An empty database has none."""
    if Lease._meta.db_table not in connection.introspection.table_names():
        return
    at_work = Lease.objects.filter(ended_at=None, expires_at__gt=database_time()).values_list("worker", flat=True)
    if names := ", ".join(at_work[:5]):
        raise BackupFailed(f"Workers are running: {names}. Stop web and worker processes first.")


def end_leases(path: Path) -> None:
    """After a restore: end every lease, leave a gap after the last id, and record the restore in each tenant's log."""
    with transaction.atomic():
        Lease.objects.filter(ended_at=None).update(ended_at=Now(), ended_why="restored from a backup")
        _leap()
        digest = _digest(path)
        for tenant in Tenant.objects.order_by("pk"):
            facts = {"backup": digest}
            record(NewEvent(tenant.pk, tenant_subject(tenant), "installation.restored", ACTOR, facts=facts))


def _leap() -> None:
    table = Lease._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("UPDATE sqlite_sequence SET seq = seq + %s WHERE name = %s", [LEASE_ID_LEAP, table])
            return
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
        cursor.execute("SELECT setval(%s, nextval(%s) + %s)", [*[cursor.fetchone()[0]] * 2, LEASE_ID_LEAP])


def _copy(source: Path, target: Path) -> None:
    """Copy by SQLite's online backup, in one step; readers and writers of the source continue."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=20)) as old,
            closing(sqlite3.connect(target, timeout=20)) as new,
        ):
            if (found := old.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
                raise BackupFailed(f"{source} is damaged: {found}")
            old.backup(new)
    except sqlite3.Error as error:
        raise BackupFailed(f"SQLite could not copy {source}: {error}") from error


def _load(path: Path, pg_bin: str) -> None:
    """Empty the schema and load the dump, in one transaction."""
    script = [_program("pg_restore", pg_bin), "--file", "-", "--no-owner", "--no-privileges", str(path)]
    psql = [_program("psql", pg_bin), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    with (
        subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading,
        subprocess.Popen(
            psql, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment()
        ) as loading,
    ):
        assert reading.stdout and reading.stderr and loading.stdin and loading.stderr
        first = reading.stdout.read(CHUNK)
        with suppress(BrokenPipeError):  # psql stopped; its error is read below
            loading.stdin.write(EMPTY_FIRST + first)
            shutil.copyfileobj(reading.stdout, loading.stdin, CHUNK)
        if not first or reading.wait() > 0:
            loading.kill()  # before it reads the end of its input, and commits
            loading.wait()
            with suppress(BrokenPipeError):  # input it has not read yet
                loading.stdin.close()
            raise BackupFailed(f"pg_restore: {_error_text(reading.stderr.read())}")
        with suppress(BrokenPipeError):
            loading.stdin.close()
        said = loading.stderr.read()
        if loading.wait() != 0:
            raise BackupFailed(f"psql: {_error_text(said)}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, env=_environment(), stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise BackupFailed(f"{Path(command[0]).name}: {_error_text(done.stderr)}")


def _error_text(output: bytes) -> str:
    return " ".join(output.decode(errors="replace").split())[:500] or "it gave no reason"


def _environment() -> dict[str, str]:
    """
    PostgreSQL's environment variables for this connection; a password on a command line could be read by everybody.
    """
    known = connection.get_connection_params()
    return {**os.environ, **{name: str(known[key]) for key, name in PARAMETERS.items() if known.get(key)}}


def _program(name: str, pg_bin: str) -> str:
    found = shutil.which(name, path=pg_bin or None)
    if found is None:
        raise BackupFailed(
            f"{name} is not installed. Install PostgreSQL's client programs, or give their directory with --pg-bin."
        )
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
