"""Worker processes that cost no start-up: a process in which everything is loaded forks one for each command.

`python -m tests.support.nursery SOCKET` reads one line of JSON per worker, `{"crash_at": "after_effect:2", "lease_s":
0.5}`, forks a process that carries whatever waits in both queues, in a process group of its own, and answers with one
line: how it ended. A crash point kills that group with SIGKILL, as it kills a Celery worker's.
"""

import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.run.parent_death_signal import die_with_parent
from tests.support import forkserver


class Nursery:
    """The test's end of it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.answers = connection, connection.makefile("r")

    def work(self, crash_at: str = "", lease_s: float = 0.6) -> int:
        """Let one worker carry what waits; return its exit code, or minus the signal that killed it."""
        self.connection.sendall(json.dumps({"crash_at": crash_at, "lease_s": lease_s}).encode() + b"\n")
        answer = self.answers.readline()
        assert answer, "the nursery itself has died"
        return int(json.loads(answer)["ended"])


@contextmanager
def nursery(environment: dict[str, str]) -> Iterator[Nursery]:
    with tempfile.TemporaryDirectory(prefix="ilk-nursery-") as directory, socket.socket(socket.AF_UNIX) as listening:
        address, log = f"{directory}/socket", Path(directory) / "log"
        listening.bind(address)
        listening.listen()
        listening.settimeout(60)
        process = forkserver.run([sys.executable, "-m", "tests.support.nursery", address], environment, log)
        try:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(None)
                made = Nursery(connection)
                yield made
                made.answers.close()
        finally:
            process.kill()
            process.wait()
            print(log.read_text(errors="replace"))


def carry(crash_at: str, lease_s: float) -> None:
    """One worker's whole life, in the forked process."""
    from actions.engine import failpoints
    from actions.engine.lease import LeaseHolder
    from actions.engine.runner import Runner

    os.setpgid(0, 0)
    die_with_parent(signal.SIGKILL)
    failpoints._armed, _, failpoints._nth = crash_at.partition(":")
    runners = [Runner(queue, LeaseHolder(queue, lease_s)) for queue in ("decide", "execute")]
    while sum(runner.drain() for runner in runners):
        pass
    for runner in runners:
        runner.stop()


def fork(command: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            carry(**command)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    import django

    django.setup()
    from actions.types import registry
    from tests.support.files_executor import FilesExecutor
    from tests.support.ledger_executor import LedgerExecutor

    registry.executors()  # what is found at run time is found once, before anything is forked
    with registry.register_executor(LedgerExecutor()), registry.register_executor(FilesExecutor()):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(sys.argv[1])
        for line in connection.makefile("r"):
            connection.sendall(json.dumps({"ended": fork(json.loads(line))}).encode() + b"\n")


if __name__ == "__main__":
    main()
