"""Real worker processes for tests: started in a session of their own, killed as a group, never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
QUICK = {"INTERLOCK_LEASE_S": "1.5", "INTERLOCK_SWEEP_S": "0.5"}


class Worker:
    """A Celery worker with beat, over the test's own database and Redis."""

    def __init__(self, environment: dict[str, str], log: Path, queues: str = "decide,execute,sweep") -> None:
        self.log = log
        beat = ["-B", "-s", str(log.with_suffix(".beat"))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "-Q", queues, "-c", "1", "-l", "INFO",
             "--without-gossip", "--without-mingle", *beat],
            cwd=REPO, env=environment, start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=log.open("ab"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL the whole group: no handler runs, no lease is ended."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=30)

    def wait_until_dead(self, seconds: float = 60) -> None:
        self.process.wait(timeout=seconds)


@contextmanager
def worker(environment: dict[str, str], log: Path, **more: str) -> Iterator[Worker]:
    started = Worker({**environment, **QUICK, **more}, log)
    try:
        yield started
    finally:
        started.kill()


def wait_for(test: Callable[[], bool], seconds: float, what: str, log: Path | None = None) -> None:
    """Poll until `test` holds; fail with the worker's log if it never does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if test():
            return
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-4000:] if log and log.exists() else ""
    raise AssertionError(f"{what} did not happen within {seconds} s\n{tail}")
