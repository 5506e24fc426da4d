"""`make run`: prepare, then keep every process of Interlock running until Ctrl-C. Run as `python -m config.run.launch`.

All of them end with this process: by SIGINT, SIGTERM, SIGHUP, a killed `make`, even `kill -9` of this process or of
supervisord (config.run.parent_death_signal).
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO

from config.env import Environment, generate_keys, load, read, socket_directory
from config.run.log_multiplexer import LogMultiplexer
from config.run.parent_death_signal import die_with_parent
from config.run.processes import DIE_WITH_PARENT, PYTHON, Process, Supervisor, configuration, processes

READY_S = 60
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotStart(Exception):
    """The reason why Interlock cannot start, for the person who ran `make run`."""


class Launcher:
    """One run of everything, from lock to last process."""

    def __init__(self, environment: Environment, port: int, output: LogMultiplexer) -> None:
        self.environment, self.port, self.output = environment, port, output
        self.run = socket_directory(environment.var)
        self.control = Supervisor(self.run / "control.sock")
        self.processes: list[Process] = processes(environment, port)
        self.stopping = threading.Event()
        self.supervisord: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Redis first, because preparation may send wake-ups; then web, because a person waits; then the rest."""
        self.supervise()
        self.prepare()
        self.begin("web")
        self.await_ready()
        for process in self.processes:
            if process.name not in ("web", "redis"):
                self.begin(process.name)

    def begin(self, name: str) -> None:
        if not self.stopping.is_set():
            self.control.start(name)

    def supervise(self) -> None:
        path = self.run / "supervisord.conf"
        path.touch(mode=0o600)
        (self.run / "control.sock").unlink(missing_ok=True)
        path.write_text(configuration(self.processes, self.run, self.control.secret))
        for name in ["interlock", *(process.name for process in self.processes)]:
            self.output.follow(name, self.run / f"{name}.pipe")
        command = [*DIE_WITH_PARENT, "SIGTERM", PYTHON, "-m", "supervisor.supervisord", "-n", "-c", str(path)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.supervisord = subprocess.Popen(command, env=environment, start_new_session=True)
        self.wait_until(self.control.answers, 15, "The supervisor did not start; its messages are above.")
        if not self.environment.redis_url:
            self.wait_until(lambda: self.control.is_running("redis"), 15, "The private Redis did not start.")

    def prepare(self) -> None:
        """Migrate, collect static files, load the demo on first use: its own process, so that Ctrl-C can end it."""
        preparing = subprocess.Popen(
            [*DIE_WITH_PARENT, "SIGTERM", PYTHON, "-m", "config.run.prepare"], start_new_session=True
        )
        while preparing.poll() is None:
            if self.stopping.wait(0.05):
                preparing.terminate()
                preparing.wait()
                return
        if preparing.returncode:
            raise CannotStart("Interlock could not be prepared; see the messages above.")

    def await_ready(self) -> None:
        url = f"http://{local_address(self.environment.bind)}:{self.port}"
        self.wait_until(
            lambda: is_ready(self.environment.bind, self.port), READY_S, f"Interlock is not ready: see {url}/readyz."
        )
        if not self.stopping.is_set():
            sign_in = (
                "" if not (self.environment.var / "demo.done").exists() else "  (sign in as operator / operator-demo)"
            )
            self.output.say(f"Interlock is ready: {url}{sign_in}   Ctrl-C stops it.")

    def wait_until(self, is_true: Callable[[], bool], patience_s: float, failure: str) -> None:
        deadline = time.monotonic() + patience_s
        while not self.stopping.is_set() and not is_true():
            given_up = self.control.given_up()
            if given_up or time.monotonic() > deadline or (self.supervisord and self.supervisord.poll() is not None):
                raise CannotStart(f"{given_up} does not stay up; see its messages above." if given_up else failure)
            self.stopping.wait(0.05)

    def watch(self) -> None:
        """Wait for the end: requested, or because a process cannot be kept running."""
        while not self.stopping.wait(1):
            if self.supervisord and self.supervisord.poll() is not None:
                raise CannotStart("The supervisor ended; all processes are stopped.")
            if given_up := self.control.given_up():
                raise CannotStart(f"{given_up} does not stay up; see its messages above.")

    def stop(self) -> None:
        """Ask supervisord to stop everything in reverse order, and wait for it; a second Ctrl-C kills."""
        if self.supervisord is None or self.supervisord.poll() is not None:
            return
        self.output.say("stopping …")
        self.stopping.clear()
        for process in self.processes:
            if not process.starts_first:
                self.control.stop(process.name)  # all at once; supervisord alone would take them one after another
        self.supervisord.terminate()
        while self.supervisord.poll() is None:
            if self.stopping.wait(0.05):
                self.control.kill_all()
                self.stopping.clear()
        self.output.say("stopped.")


def main() -> int:
    die_with_parent(signal.SIGTERM)
    environment, port = prepare_settings()
    output = LogMultiplexer(sys.stdout)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_var_directory(environment, port))
            require_free_port(environment.bind, port)
            launcher = Launcher(environment, port, output)
        except CannotStart as refusal:
            output.say(str(refusal))
            return 1
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: launcher.stopping.set())
        stack.callback(output.close)
        stack.callback(launcher.stop)
        try:
            launcher.start()
            launcher.watch()
        except CannotStart as refusal:
            output.say(str(refusal))
            return 1
    return 0


def prepare_settings() -> tuple[Environment, int]:
    """Read the environment; make this installation's keys if it has none. What children need goes into theirs."""
    draft = read()
    var = draft.var.absolute()
    os.environ["INTERLOCK_VAR"] = str(var)
    for directory in (var, var / "run", socket_directory(var)):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not draft.secret_key and not draft.kek:
        generate_keys(draft.secrets_file)
    environment = load()
    port = os.environ.get("PORT") or "8000"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        print(f"PORT={port}: must be a number from 1 to 65535", file=sys.stderr)
        raise SystemExit(2)
    return environment, int(port)


def lock_var_directory(environment: Environment, port: int) -> IO[str]:
    """Hold the lock of this `var` directory while we run; the system releases it however this process ends."""
    lock = (environment.var / "run" / "launch.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        other = lock.read().strip() or "another process"
        raise CannotStart(
            f"Interlock already runs from this directory ({other}). Stop that first, or give this one its own "
            "data: INTERLOCK_VAR=/some/directory PORT=8001 make run"
        ) from None
    lock.truncate(0)
    lock.write(f"pid {os.getpid()}, port {port}")
    lock.flush()
    return lock


def require_free_port(bind: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.strip("[]"), port))
        except OSError as error:
            raise CannotStart(
                f"Cannot listen on {bind}:{port} ({error.strerror}). Stop what uses it, or choose another port: "
                f"PORT={port + 1 if port < 65535 else 8001} make run"
            ) from None


def local_address(bind: str) -> str:
    """Where a person on this machine reaches a server bound to `bind`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind, f"[{bind}]" if ":" in bind else bind)


def is_ready(bind: str, port: int) -> bool:
    """GET /readyz, with nothing but a socket: it is asked twenty times a second while everything starts."""
    host = local_address(bind).strip("[]")
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
