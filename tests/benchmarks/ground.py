"""The ground every contender stands on: one durable PostgreSQL, one private Valkey, a fresh database for every turn.

Unlike the test run's, this server keeps its promises: `fsync`, `full_page_writes` and `synchronous_commit` are on.
"""

import base64
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from tests import servers

DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "shared_preload_libraries": "pg_stat_statements",
    "listen_addresses": "",
    "log_min_messages": "fatal",
}
OWN = "/* bench */"
"""Opens every statement of the benchmark's own, which are not counted."""

_COUNTED = f"""{OWN} SELECT coalesce(sum(s.calls), 0)::bigint
    FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
    WHERE d.datname = %s AND s.toplevel AND s.query NOT LIKE '/* bench */%%'
    AND s.query NOT LIKE '%%FOR KEY SHARE OF x'  -- the server's own checks of foreign keys
    AND s.query !~* '^\\s*(begin|commit|rollback|savepoint|release|start transaction|set|show|deallocate|discard)'"""


@dataclass(frozen=True)
class Reading:
    """Counters of one moment: statements in one database, bytes of WAL, CPU seconds of the server."""

    statements: int
    wal_bytes: int
    server_cpu_s: float


class Ground:
    """The servers of one benchmark run. They end with this process."""

    def __init__(self) -> None:
        self.base = servers.scratch_directory()
        self.url = servers.start_postgresql(self.base, DURABLE)
        self.redis_url = servers.start_valkey(self.base)
        self.secrets = {
            "INTERLOCK_SECRET_KEY": secrets.token_urlsafe(32),
            "INTERLOCK_KEK": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        postmaster = (self.base / "pg" / "postmaster.pid").read_text().splitlines()[0]
        self.server = psutil.Process(int(postmaster))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
        self._turns = 0

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Create a database, yield its name, drop it."""
        self._turns += 1
        name = f"turn_{self._turns}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            connection.execute("CHECKPOINT")
            try:
                yield name
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def make_template(self, name: str) -> str:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def url_of(self, database: str) -> str:
        return self.url.replace("@/postgres?", f"@/{database}?")

    def environment(self, database: str) -> dict[str, str]:
        """The environment of a process of the product over this ground."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("INTERLOCK_") and k != "CELERY_BROKER_URL"}
        return {
            **kept,
            **self.secrets,
            "DATABASE_URL": self.url_of(database),
            "REDIS_URL": self.redis_url,
            "INTERLOCK_VAR": str(self.base / "var"),
            "INTERLOCK_STATIC": "source",
            "INTERLOCK_LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONUNBUFFERED": "1",
        }

    def empty_redis(self) -> None:
        client = redis.Redis.from_url(self.redis_url)
        client.flushall()
        client.close()

    def read(self, database: str) -> Reading:
        with psycopg.connect(self.url, autocommit=True) as connection:
            statements = connection.execute(_COUNTED, [database]).fetchone()
            wal = connection.execute(f"{OWN} SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").fetchone()
        assert statements is not None and wal is not None
        return Reading(statements[0], wal[0], cpu_of(self.server))

    def facts(self) -> str:
        """The server in a few words."""
        with psycopg.connect(self.url) as connection:
            names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
            values = {n: connection.info.parameter_status(n) or _shown(connection, n) for n in names}
        version = values.pop("server_version")
        return f"PostgreSQL {version} on {_filesystem(self.base)}, " + ", ".join(f"{n} {v}" for n, v in values.items())


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process, its living descendants, and the children it has reaped."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _shown(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    return row[0] if row else "?"


def _filesystem(path: Path) -> str:
    mounts = [p for p in psutil.disk_partitions(all=True) if path.is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "?"
