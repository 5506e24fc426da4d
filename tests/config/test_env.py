"""Settings from the environment: typed, and readable when they are wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.env import BASE_DIR, Environment, generate_keys, is_loopback, socket_directory

KEK = "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg="


def start(var: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Import the settings in a fresh process with nothing set but `environment`."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    command = [sys.executable, "-c", "import config.settings"]
    return subprocess.run(
        command, cwd=BASE_DIR, env={**kept, "INTERLOCK_VAR": str(var), **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("INTERLOCK_LEASE_S", "abc", "INTERLOCK_LEASE_S=abc: Input should be a valid number"),
        ("INTERLOCK_LEASE_S", "0", "INTERLOCK_LEASE_S=0: Input should be greater than 0"),
        ("INTERLOCK_DEBUG", "perhaps", "INTERLOCK_DEBUG=perhaps: Input should be a valid boolean"),
        ("INTERLOCK_LOG_LEVEL", "loud", "must be one of DEBUG, INFO, WARNING, ERROR"),
        ("INTERLOCK_KEK", "c2hvcnQ=", "INTERLOCK_KEK: must be 32 bytes in base64"),
        ("INTERLOCK_KEK", "not base64!", "INTERLOCK_KEK: is not base64"),
        ("DATABASE_URL", "mysql://root:hunter2@host/db", "DATABASE_URL: starts with mysql://"),
        ("DATABASE_URL", "postgresql://user@host", "DATABASE_URL: names no database"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL: must look like redis://"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    started = start(tmp_path, **{"INTERLOCK_SECRET_KEY": "x", "INTERLOCK_KEK": KEK, name: value})
    assert started.returncode == 2
    assert says in started.stderr
    assert "Traceback" not in started.stderr
    assert "hunter2" not in started.stderr


def test_all_wrong_values_are_told_at_once(tmp_path: Path) -> None:
    started = start(tmp_path, INTERLOCK_LEASE_S="a", INTERLOCK_SWEEP_S="b")
    assert "INTERLOCK_LEASE_S" in started.stderr
    assert "INTERLOCK_SWEEP_S" in started.stderr


def test_without_keys_nothing_starts_and_the_message_says_how_to_make_them(tmp_path: Path) -> None:
    started = start(tmp_path)
    assert started.returncode == 2
    assert "INTERLOCK_SECRET_KEY is not set" in started.stderr
    assert "INTERLOCK_KEK is not set" in started.stderr
    assert "token_urlsafe" in started.stderr


def test_stored_keys_fill_what_the_environment_leaves_out(tmp_path: Path) -> None:
    generate_keys(tmp_path / "secrets.json")
    assert start(tmp_path).returncode == 0


def test_a_damaged_key_file_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{}")
    started = start(tmp_path)
    assert started.returncode == 2
    assert "restore it from a backup" in started.stderr
    assert (tmp_path / "secrets.json").read_text() == "{}"


def test_keys_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    assert generate_keys(path)
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not generate_keys(path)
    assert path.read_text() == first
    assert list(tmp_path.iterdir()) == [path]


def test_hosts_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_ALLOWED_HOSTS", "a.example, b.example")
    assert Environment().allowed_hosts == ["a.example", "b.example"]


def test_a_path_too_long_for_a_socket_gets_a_short_stand_in_of_its_own(tmp_path: Path) -> None:
    deep, other = tmp_path / ("d" * 100), tmp_path / ("e" * 100)
    assert len(str(socket_directory(deep) / "control.sock.12345")) < 104
    assert socket_directory(deep) == socket_directory(deep)
    assert socket_directory(deep) != socket_directory(other)
    assert socket_directory(Path("/srv/interlock/var")) == Path("/srv/interlock/var/run")


@pytest.mark.parametrize(
    ("bind", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True)]
    + [("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)
def test_only_loopback_counts_as_private(bind: str, expected: bool) -> None:
    assert is_loopback(bind) is expected
