"""Real processes for tests: each in a session of its own, killed as a group, never left behind."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config.run.parent_death_signal import die_with_parent
from tests.support import forkserver
from tests.support.waiting import wait_for as wait_for

REPO = Path(__file__).resolve().parents[2]
QUICK = {"INTERLOCK_LEASE_S": "1.5", "INTERLOCK_SWEEP_S": "0.5"}
ALL_QUEUES = "decide,execute,sweep,background"
WITH_LEDGER = "tests.support.worker_app"
"""The Celery application that knows the ledger executor too."""


class Group:
    """A process and whatever it started."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | forkserver.Forked
        if forkserver.can_run(command, environment):
            self.process = forkserver.run(command, environment, log)
            return
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=REPO,
                env=environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
            )

    def signal(self, how: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)

    def kill(self) -> None:
        """SIGKILL the whole group: no handler runs, no lease is ended."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> int:
        """Tell the first process to stop, as a supervisor would, and wait for its end."""
        self.process.terminate()
        return self.process.wait(timeout=30)

    def wait_until_dead(self, seconds: float = 60) -> None:
        self.process.wait(timeout=seconds)


class Worker(Group):
    """A Celery worker with beat, over the test's own database and Redis."""

    def __init__(self, environment: dict[str, str], log: Path, queues: str, app: str) -> None:
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-Q", queues, "-c", "1", "-l", "INFO"]
        beat = ["-B", "-s", str(log.with_suffix(".beat"))]
        more = ["-n", f"{log.stem}@%h", "--without-gossip", "--without-mingle"]
        super().__init__([*command, *more, *beat], environment, log)


@contextmanager
def worker(
    environment: dict[str, str], log: Path, app: str = "config.celery", queues: str = ALL_QUEUES, **more: str
) -> Iterator[Worker]:
    started = Worker({**environment, **QUICK, **more}, log, queues, app)
    try:
        yield started
    finally:
        started.kill()


@contextmanager
def web(environment: dict[str, str], log: Path, port: int) -> Iterator[str]:
    """Daphne on a port of this machine; yields its address as soon as it answers."""
    with server(environment, log, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def server(environment: dict[str, str], log: Path, port: int) -> Iterator[Group]:
    """The process behind `web`, once it answers."""
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "config.asgi:application"]
    started = Group(command, {**environment, **QUICK}, log)
    try:
        wait_for(lambda: answers(port), 40, "the server's first answer", log)
        yield started
    finally:
        started.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
