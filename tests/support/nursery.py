"""Worker processes that cost no start-up: a process in which everything is loaded forks one for each command.

`python -m tests.support.nursery` reads one line of JSON per worker, `{"crash_at": "after_effect:2", "lease_s": 0.5}`,
forks a process that carries whatever waits in both queues, in a process group of its own, and answers with one line:
how it ended. A crash point kills that group with SIGKILL, as it kills a Celery worker's.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config.run.parent_death_signal import die_with_parent


class Nursery:
    """The test's end of it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def work(self, crash_at: str = "", lease_s: float = 0.6) -> int:
        """Let one worker carry what waits; return its exit code, or minus the signal that killed it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"crash_at": crash_at, "lease_s": lease_s}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the nursery itself has died"
        return int(json.loads(answer)["ended"])


@contextmanager
def nursery(environment: dict[str, str]) -> Iterator[Nursery]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.nursery"],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: die_with_parent(signal.SIGKILL),
    )
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()


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
        for line in sys.stdin:
            print(json.dumps({"ended": fork(json.loads(line))}), flush=True)


if __name__ == "__main__":
    main()
