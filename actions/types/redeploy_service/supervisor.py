"""One supervisord per service, which outlives whoever started it, and the service's process under it.

Everything here works on the service's control directory, by descriptor: its configuration, socket and logs. The
process is recognised by the marks that ``begin`` puts into its environment, so also when its supervisor was killed.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, Fault, ServerProxy

import psutil
from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults, SupervisorTransport, UnixStreamHTTPConnection

from actions.types.shared.fs_state import read_bytes, write_bytes

PROGRAM = "service"
SOCKET, CONFIGURATION, LOG = "s.sock", "supervisord.conf", "service.log"
ANSWER_S = 5.0
START_S = 20.0
POLL_S = 0.05
SUPERVISOR_ERRORS = (OSError, Error, HTTPException)
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
OURS, SERVICE, DEPLOYMENT = "INTERLOCK_SUPERVISOR_OF", "INTERLOCK_SERVICE", "INTERLOCK_DEPLOYMENT"
UP_STATES = (ProcessStates.STARTING, ProcessStates.RUNNING)


class SupervisorFailed(Exception):
    """The service's supervisor did not do as it was told; ``str()`` says what to look at."""


@dataclass(frozen=True)
class LiveProcess:
    """A process of a service: its pid, and the deployment that started it."""

    pid: int
    token: str


class _UnixConnection(UnixStreamHTTPConnection):
    """A connection that gives up: a supervisor that was stopped must not hold the run up for ever."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.socketfile)


class Supervisor:
    """The supervisor of one service, as seen from its open control directory."""

    def __init__(self, control: int) -> None:
        self.control = control
        self.home = os.path.dirname(os.path.realpath(f"/proc/self/fd/{control}"))

    def _ask(self, method: str, *args: Any) -> Any:
        transport = SupervisorTransport(None, None, "unix://unused")
        transport._get_connection = self._connection
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*args)

    def _connection(self) -> _UnixConnection:
        line = _UnixConnection("localhost")
        line.socketfile = f"/proc/self/fd/{self.control}/{SOCKET}"  # a socket's address has 107 bytes, a path may not
        return line

    def pid(self) -> int | None:
        """The supervisor's pid if it answers and is this service's."""
        try:
            pid = int(self._ask("getPID"))
        except SUPERVISOR_ERRORS:
            return None
        return pid if process_mark(pid, OURS) == self.home else None

    def state(self) -> int | None:
        """supervisord's state of the process; None when the supervisor does not answer or does not know it."""
        try:
            return int(self._ask("getProcessInfo", PROGRAM)["state"])
        except SUPERVISOR_ERRORS:
            return None

    def live(self) -> list[LiveProcess]:
        """Every process of the service, its children too, whoever looks after it."""
        found = []
        for process in psutil.process_iter():
            said = environment_of(process)
            if said.get(SERVICE) == self.home:
                found.append(LiveProcess(process.pid, said.get(DEPLOYMENT, "")))
        return found

    def start(self, grace_s: int, token: str) -> None:
        """Have the service run what its record says, in a new process, and nothing older beside it.

        Waits until the process carries ``token``. Raises SupervisorFailed; ``DoesNotStart`` when it ended at once.
        """
        patience_s = max(grace_s, read_grace(self.control))
        write_configuration(self.control, grace_s)
        if self.pid() is None:
            self._end_leftover_runs()
            self._launch()
        else:
            self._halt(patience_s)
            self._reconfigure()
            self._end_older(grace_s, token)
            self._call("startProcess", PROGRAM, False, fine=(Faults.ALREADY_STARTED, Faults.SPAWN_ERROR))
        if not wait_until(lambda: self.carries(token) or self.state() == ProcessStates.FATAL, START_S):
            raise DoesNotStart("The process ended right after its start, each time.")
        if not self.carries(token):
            raise DoesNotStart("The process ended right after its start, and was given up.")

    def carries(self, token: str) -> bool:
        return any(each.token == token for each in self.live())

    def running(self, token: str) -> int | None:
        """The pid of the supervised process, if it is up and was started by this deployment."""
        try:
            info = self._ask("getProcessInfo", PROGRAM)
        except SUPERVISOR_ERRORS:
            return None
        pid = int(info["pid"])
        return pid if info["state"] in UP_STATES and process_mark(pid, DEPLOYMENT) == token else None

    def stop(self) -> None:
        """End the service and its supervisor. Raises SupervisorFailed."""
        pid = self.pid()
        if pid is not None:
            self._halt(read_grace(self.control))
            self._call("shutdown", fine=(Faults.SHUTDOWN_STATE,))
            if not wait_until(lambda: not is_alive(pid), START_S):
                raise SupervisorFailed(f"The supervisor (process {pid}) does not end. An operator ends it.")
        self._end_leftover_runs()

    def _halt(self, grace_s: int) -> None:
        """Stop the process: SIGTERM to its group, and SIGKILL after the grace that it was started with."""
        self._call("stopProcess", PROGRAM, False, fine=(Faults.NOT_RUNNING, Faults.BAD_NAME))
        busy = (*UP_STATES, ProcessStates.BACKOFF, ProcessStates.STOPPING)
        if not wait_until(lambda: self.state() not in busy, grace_s + START_S):
            raise SupervisorFailed("The running release could not be stopped. An operator looks at the service.")

    def _reconfigure(self) -> None:
        """Let the supervisor take up its (possibly changed) configuration; the process is stopped."""
        changed = self._call("reloadConfig")
        added, altered, removed = changed[0] if changed else ([], [], [])
        for name in (*altered, *removed):
            self._call("removeProcessGroup", name, fine=(Faults.BAD_NAME,))
        for name in (*added, *altered):
            self._call("addProcessGroup", name, fine=(Faults.ALREADY_ADDED,))

    def _call(self, method: str, *args: Any, fine: tuple[int, ...] = ()) -> Any:
        try:
            return self._ask(method, *args)
        except Fault as fault:
            if fault.faultCode in fine:
                return None
            raise SupervisorFailed(f"The service's supervisor refused: {fault.faultString}.") from fault
        except SUPERVISOR_ERRORS as exc:
            raise SupervisorFailed(f"The service's supervisor does not answer ({type(exc).__name__}).") from exc

    def _launch(self) -> None:
        """Start supervisord as a daemon of its own session, with nothing of Interlock's environment or files."""
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {OURS: self.home}
        command = [sys.executable, "-I", "-m", "supervisor.supervisord", "-c", CONFIGURATION]
        try:
            done = subprocess.run(
                command,
                cwd=f"/proc/self/fd/{self.control}",
                env=environment,
                start_new_session=True,
                timeout=START_S,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise SupervisorFailed(f"supervisord cannot be started: {exc}.") from exc
        if done.returncode or not wait_until(lambda: self.pid() is not None, START_S):
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise SupervisorFailed(f"supervisord did not start: {said[-1] if said else 'see supervisord.log'}.")

    def _end_leftover_runs(self) -> None:
        """Where no supervisor answers: end one that hangs, then what is left of the service, so that no two run."""
        end_processes([p for p in psutil.process_iter() if environment_of(p).get(OURS) == self.home], 0)
        end_processes(
            [p for p in psutil.process_iter() if environment_of(p).get(SERVICE) == self.home], read_grace(self.control)
        )

    def _end_older(self, grace_s: int, token: str) -> None:
        """Processes that left the service's group and so outlived its stop."""
        older = [each.pid for each in self.live() if each.token != token]
        end_processes([p for p in psutil.process_iter() if p.pid in older], grace_s)


class DoesNotStart(SupervisorFailed):
    """The service's process does not stay up."""


def process_mark(pid: int, name: str) -> str:
    """The value of an environment variable that a process was started with; empty when it cannot be told."""
    try:
        return environment_of(psutil.Process(pid)).get(name, "")
    except psutil.Error:
        return ""


def environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def is_alive(process: psutil.Process | int) -> bool:
    """Whether a process runs. One that ended and that nobody has reaped yet (PID 1 of many containers never does) does
    not; a pid in other hands is another process, which psutil tells by its start time."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_processes(processes: list[psutil.Process], grace_s: float) -> None:
    """SIGTERM, wait, SIGKILL."""
    for process in processes if grace_s else []:
        ignore_process_errors(process.terminate)
    wait_until(lambda: not any(map(is_alive, processes)), grace_s)
    for process in filter(is_alive, processes):
        ignore_process_errors(process.kill)
    wait_until(lambda: not any(map(is_alive, processes)), ANSWER_S)


def ignore_process_errors(call: Callable[[], object]) -> None:
    try:
        call()
    except psutil.Error:
        return


def wait_until(is_true: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def read_grace(control: int) -> int:
    """The grace that the configuration on disk gives, for a process whose supervisor is gone."""
    data = read_bytes(control, CONFIGURATION, CONFIGURATION) or b""
    said = next((line for line in data.decode().splitlines() if line.startswith("stopwaitsecs=")), "=10")
    return int(said.partition("=")[2])


def write_configuration(control: int, grace_s: int) -> None:
    """Names in it are relative: supervisord stays in the control directory, wherever that is moved to."""
    command = shlex.join([sys.executable, "-I", str(Path(__file__).with_name("entrypoint.py"))]).replace("%", "%%")
    user = "user=root\n" if os.geteuid() == 0 else ""
    text = f"""; Written by Interlock, and written anew by it.
[supervisord]
nodaemon=false
{user}logfile=supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile=supervisord.pid
loglevel=info

[unix_http_server]
file=/proc/self/cwd/{SOCKET}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[program:{PROGRAM}]
command={command}
autostart=true
autorestart=true
startsecs=1
startretries=3
stopsignal=TERM
stopwaitsecs={grace_s}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={LOG}
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
"""
    if read_bytes(control, CONFIGURATION, CONFIGURATION) != text.encode():
        write_bytes(control, CONFIGURATION, text.encode())


def log_tail(control: int, lines: int = 20) -> list[str]:
    """The last lines that the service wrote."""
    try:
        file = os.open(LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=control)
    except OSError:
        return []
    with open(file, "rb") as log:
        log.seek(max(0, os.fstat(file).st_size - 16_384))
        return log.read().decode(errors="replace").splitlines()[-lines:]
