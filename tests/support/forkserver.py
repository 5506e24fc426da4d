"""Start the product's processes without loading third-party packages anew each time, which is most of their start.

One process per test process has imported those packages, none of ours and no settings; for each command it forks, and
the fork becomes `python -m MODULE ARGUMENTS…` with an environment, a session and a log of its own. What it runs, it
loads itself. Only what is read before the first import (the loader's and the interpreter's settings) would be missed.

A request is one line of JSON over a connection of its own; the answers are the process id at once, and the exit code
once it has ended.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.run.parent_death_signal import die_with_parent

REPO = Path(__file__).resolve().parents[2]
LOADED = [
    "apprise",
    "asgiref.compatibility",
    "asgiref.sync",
    "asyncio",
    "autobahn.websocket",
    "cel_expr_python",
    "celery.app.amqp",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.beat",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "cffi.cparser",
    "channels.auth",
    "channels.consumer",
    "channels.layers",
    "channels.routing",
    "channels.sessions",
    "channels_redis.core",
    "channels_redis.pubsub",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "cryptography.hazmat.primitives.serialization",
    "csp.middleware",
    "django.conf.urls.static",
    "django.contrib.admin.sites",
    "django.contrib.messages.storage.fallback",
    "django.core.handlers.asgi",
    "django.core.management",
    "django.db.backends.postgresql.psycopg_any",
    "django.db.migrations.executor",
    "django.db.models",
    "django.db.models.sql.compiler",
    "django.forms",
    "django.template.backends.django",
    "django.template.loader_tags",
    "django.test.signals",
    "django.views.generic",
    "django_htmx.middleware",
    "django_structlog.middlewares",
    "fontTools.ttLib",
    "hyperlink",
    "jsonschema_rs",
    "kombu.transport.redis",
    "lucide",
    "prometheus_client",
    "psutil",
    "psycopg.types.json",
    "pybreaker",
    "pycparser.c_parser",
    "pydantic.networks",
    "pydantic_settings",
    "pygments",
    "redis.asyncio",
    "rfc8785",
    "sqlite3",
    "statistics",
    "structlog",
    "twisted.application.service",
    "twisted.internet.endpoints",
    "twisted.internet.ssl",
    "twisted.web.http",
    "typst",
    "urllib3",
    "uuid_utils",
    "uuid_utils.compat",
    "whitenoise.middleware",
    "yaml",
]
"""What takes long to load. Nothing that keeps a descriptor or a thread: a reactor, say, is made by who runs it."""
READ_AT_START = ("LD_", "PYTHON", "MALLOC_", "GLIBC_")


class Forked:
    """As much of `subprocess.Popen` as our tests ask of a process that was started here."""

    def __init__(self, connection: socket.socket) -> None:
        self._answers = connection.makefile("r")
        self._connection = connection
        self.returncode: int | None = None
        self.pid = int(self._read(None)["pid"])

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = int(self._read(timeout)["ended"])
            self._connection.close()
        return self.returncode

    def send_signal(self, how: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, how)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read(self, timeout: float | None) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        line = self._answers.readline()
        assert line, "the fork server has died"
        return dict(json.loads(line))


def can_run(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a fork is as good as a start: of a module by this Python, with nothing that only a start would read."""
    differing = {k for k in {*environment, *os.environ} if environment.get(k) != os.environ.get(k)}
    return list(command[:2]) == [sys.executable, "-m"] and not any(k.startswith(READ_AT_START) for k in differing)


def run(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
    """Fork `python -m MODULE ARGUMENTS…` in a session of its own; what it prints is appended to `log`."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_address())
    asked = {"module": command[2], "arguments": [str(a) for a in command[3:]], "environment": dict(environment)}
    connection.sendall(json.dumps({**asked, "log": str(log)}).encode() + b"\n")
    return Forked(connection)


_running: dict[int, str] = {}


def _address() -> str:
    """Where this process's fork server listens; it is started on first use, and ends with this process."""
    if os.getpid() not in _running:
        _running.clear()
        address = tempfile.mkdtemp(prefix="ilk-fork-") + "/socket"
        command = [sys.executable, "-m", "tests.support.forkserver", address]
        server = subprocess.Popen(
            command,
            cwd=REPO,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),
        )
        assert server.stdout is not None and server.stdout.readline() == b"READY\n", "the fork server did not start"
        atexit.register(server.kill)
        _running[os.getpid()] = address
    return _running[os.getpid()]


def serve(address: str) -> None:
    """The server: one thread, which forks and reaps."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()
    assert len(os.listdir("/proc/self/task")) == 1, "a package started a thread, which no fork would have"
    print("READY", flush=True)
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake:
                    wake.recv(4096)
                    _reap(children)
                else:
                    connection, _ = listening.accept()
                    asked = json.loads(connection.makefile("r").readline())
                    child = os.fork()
                    if child == 0:
                        _become(asked)
                    children[child] = connection
                    _say(connection, {"pid": child})


def _reap(children: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            connection = children.pop(ended[0])
            _say(connection, {"ended": os.waitstatus_to_exitcode(ended[1])})
            connection.close()


def _say(connection: socket.socket, answer: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # who asked may have gone
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _become(asked: dict[str, Any]) -> None:
    """The forked process: be what was asked for, and never return."""
    die_with_parent(signal.SIGKILL)
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    sys.argv = [asked["module"], *asked["arguments"]]
    sys.path[0] = str(REPO)
    code = 1
    try:
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        with contextlib.suppress(Exception):
            import threading

            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    serve(sys.argv[1])
