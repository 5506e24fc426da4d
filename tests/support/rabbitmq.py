"""A real RabbitMQ for a test to restart: the one installed here, with everything it writes in a directory of its own.

Its queues are on disk and survive a restart, as in production.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from kombu import Connection

from config.run.parent_death_signal import die_with_parent
from tests.servers import scratch_directory
from tests.support.processes import free_port, wait_for

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
ACCOUNT = "rabbitmq"
"""Who runs it where the tests run as root: Erlang's own port mapper trusts nobody else's cookie."""


def is_installed() -> bool:
    return SERVER.exists()


class RabbitMQ:
    """Running inside its `with` block, unless it was stopped."""

    def __init__(self, **settings: int) -> None:
        """`settings` are of the server's application `rabbit`, as its own configuration names them."""
        self.base = scratch_directory()
        self.port, self.mapper, self.peers = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        account = pwd.getpwnam(ACCOUNT) if os.geteuid() == 0 else None
        self.as_account: dict[str, Any] = (
            {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        )
        lines = {"listeners.tcp.1": f"127.0.0.1:{self.port}", "log.console.level": "warning"}
        (self.base / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
        self.arguments = " ".join(f"-rabbit {name} {value}" for name, value in settings.items())
        (self.base / "enabled_plugins").write_text("[].\n")
        if account:
            self.base.chmod(0o755)
            for path in (self.base, *self.base.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)

    def __enter__(self) -> "RabbitMQ":
        self.port_mapper = self._run(["epmd", "-port", str(self.mapper), "-address", "127.0.0.1"])
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.port_mapper.kill()
        self.port_mapper.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.base),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"il{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(self.base / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(self.base / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.base / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.base / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self.arguments,
            "RABBITMQ_DIST_PORT": str(self.peers),
            "ERL_EPMD_PORT": str(self.mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def start(self) -> None:
        self.process = self._run([str(SERVER)])
        wait_for(self.answers, 60, "RabbitMQ's first answer", self.base / "server.log")

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self.base / "server.log").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.base,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
                **self.as_account,
            )

    def stop(self) -> None:
        """Stop it as a service manager would; SIGTERM goes to the whole group, because a shell is in front."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        wait_for(lambda: not self.answers(), 10, "the end of RabbitMQ")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not self.answers(), 10, "the end of RabbitMQ")

    def answers(self) -> bool:
        with suppress(Exception), Connection(self.url, connect_timeout=1) as connection:
            connection.ensure_connection(max_retries=1, timeout=1)
            return True
        return False

    def queues(self) -> dict[str, str]:
        """The type of every queue, by name, as the server itself tells."""
        command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "list_queues", "name", "type", "--formatter", "json"]
        told = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, cwd=self.base, **self.as_account
        )
        return {row["name"]: row["type"] for row in json.loads(told.stdout)}
