"""`make run`, as processes: everything starts, stays up, and ends; whatever is killed, nothing stays behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from config.env import BASE_DIR
from tests.support.waiting import wait_for

PATIENCE_S = 90


class Run:
    """One `python -m config.run.launch` with data of its own; what it prints is read as it comes."""

    def __init__(self, var: Path, port: int, **environment: str) -> None:
        names = ("DATABASE_URL", "REDIS_URL", "INTERLOCK_SECRET_KEY", "INTERLOCK_KEK", "INTERLOCK_LOG_LEVEL")
        inherited = {k: v for k, v in os.environ.items() if k not in names}
        own = {"INTERLOCK_VAR": str(var), "PORT": str(port), "INTERLOCK_DEMO": "false", "INTERLOCK_STATIC": "source"}
        self.var, self.port, self.printed = var, port, var.parent / f"{var.name}-{time.monotonic_ns()}.txt"
        with self.printed.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.run.launch"],
                cwd=BASE_DIR,
                env={**inherited, **own, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.printed.read_text()

    def processes(self, wanted: str = "") -> list[psutil.Process]:
        """Everything that runs on this run's data, the launcher included."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("INTERLOCK_VAR") == str(self.var) and wanted in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def until(self, is_true: Callable[[], bool]) -> None:
        wait_for(is_true, PATIENCE_S, "what the run should come to", self.printed)

    def until_ready(self) -> "Run":
        self.until(lambda: "Interlock is ready" in self.output or self.process.poll() is not None)
        assert f"http://127.0.0.1:{self.port}" in self.output, self.output
        self.until(lambda: len(self.processes("celery")) >= 5)  # two workers with a child each, and beat
        return self

    def until_gone(self) -> None:
        self.until(lambda: self.process.poll() is not None)
        self.until(lambda: not self.processes())


@pytest.fixture
def var() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ilk-") as directory:
        yield Path(directory) / "var"


@pytest.fixture
def start(var: Path, product_environment: dict[str, str]) -> Iterator[Callable[..., Run]]:
    """Start a run; on the SQLite round with everything embedded, on the other with the test's PostgreSQL."""
    runs: list[Run] = []

    def begin(port: int = 0, **environment: str) -> Run:
        if product_environment["DATABASE_URL"].startswith("postgresql"):
            environment["DATABASE_URL"] = product_environment["DATABASE_URL"]
        runs.append(Run(var, port or free_port(), **environment))
        return runs[-1]

    yield begin
    for run in runs:
        for process in run.processes():
            process.kill()
        run.process.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(port: int, path: str) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.mark.timeout(300)
def test_everything_runs_restarts_and_ends_with_ctrl_c(start: Callable[..., Run]) -> None:
    run = start().until_ready()
    assert status(run.port, "/readyz") == 200
    assert (run.var / "secrets.json").stat().st_mode & 0o777 == 0o600

    second = start()
    second.process.wait(PATIENCE_S)
    assert second.process.returncode == 1
    assert "already runs from this directory" in second.output

    victim = next(p for p in run.processes("celery") if "execute@" in " ".join(p.cmdline()))
    victim.kill()
    run.until(lambda: any(p.pid != victim.pid for p in run.processes("execute@")))

    os.killpg(run.process.pid, signal.SIGINT)
    run.until_gone()
    assert run.process.returncode == 0
    assert run.output.rstrip().endswith("stopped.")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "victim", [pytest.param("config.run.launch", marks=pytest.mark.slow), "supervisor.supervisord"]
)
def test_killing_whoever_is_in_charge_leaves_nothing_behind(start: Callable[..., Run], victim: str) -> None:
    run = start().until_ready()
    assert len(run.processes(victim)) == 1
    run.processes(victim)[0].kill()
    run.until_gone()
    assert run.process.returncode != 0


@pytest.mark.timeout(300)
def test_sigterm_while_it_still_starts_ends_it_too(start: Callable[..., Run]) -> None:
    run = start()
    run.until(lambda: bool(run.processes("supervisord")))
    run.process.terminate()
    run.until_gone()
    assert run.process.returncode == 0


def test_a_taken_port_is_said_before_anything_starts(start: Callable[..., Run]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = start(port=taken.getsockname()[1])
        run.process.wait(PATIENCE_S)
    assert run.process.returncode == 1
    assert "choose another port: PORT=" in run.output
    assert not (run.var / "interlock.sqlite3").exists()


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(var: Path, port: str) -> None:
    command = [sys.executable, "-m", "config.run.launch"]
    ran = subprocess.run(
        command,
        cwd=BASE_DIR,
        env={**os.environ, "INTERLOCK_VAR": str(var), "PORT": port},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert f"PORT={port}: must be a number from 1 to 65535" in ran.stderr


@pytest.mark.timeout(300)
def test_unsafe_settings_stop_the_start_with_a_hint(start: Callable[..., Run]) -> None:
    run = start(INTERLOCK_BIND="0.0.0.0", INTERLOCK_DEBUG="true")
    run.until_gone()
    assert run.process.returncode == 1
    assert "Unset INTERLOCK_DEBUG, or bind to 127.0.0.1." in run.output
