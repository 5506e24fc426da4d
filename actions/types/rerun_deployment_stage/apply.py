"""Run the command of a stage exactly once per key, from any worker, and read its result.

The order lives in a directory of its own (``.interlock-stage/<key>`` in the deployment's directory): ``order.json``,
the lock ``alive``, ``begun``, ``output.log`` and, written last, ``result.json``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actions.types.protocol import StepContext
from actions.types.rerun_deployment_stage.schema import Deployment, Stage
from actions.types.shared.executor_base import StepRefused
from actions.types.shared.fs_state import ignore_missing, open_subdirectory, read_state, write_state
from actions.types.shared.safe_path import Unreachable
from audit.changes.masking import mask

CONTROL, ORDER, ALIVE, BEGUN, RESULT, OUTPUT = (
    ".interlock-stage",
    "order.json",
    "alive",
    "begun",
    "result.json",
    "output.log",
)
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
POLL_S = 0.05
START_S = 15.0
STOP_S = 15.0
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class DeploymentDir:
    """The open directory of a deployment, and where it is."""

    fd: int
    path: str

    @property
    def real(self) -> str:
        return os.path.realpath(f"/proc/self/fd/{self.fd}")


def order_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


@contextmanager
def order_directory(place: DeploymentDir, key: str, *, make: bool = False) -> Iterator[int]:
    mode = 0o700 if make else None
    with ExitStack() as stack:
        control = stack.enter_context(open_subdirectory(place.fd, CONTROL, f"{place.path}/{CONTROL}", make=mode))
        yield stack.enter_context(open_subdirectory(control, order_name(key), f"{place.path}/{CONTROL}", make=mode))


def find_order_state(place: DeploymentDir, key: str) -> str:
    """Say what there is of an order: ``none``, ``waiting`` (not begun), ``alive``, ``ended`` or ``lost``. Read-only."""
    try:
        with order_directory(place, key) as fd:
            return read_order_state(fd)
    except Unreachable as exc:
        if exc.code != "missing_parent":
            raise
        return "none"


def read_order_state(fd: int) -> str:
    if is_alive(fd):
        return "alive"
    if read_state(fd, RESULT, RESULT) is not None:
        return "ended"
    if read_state(fd, BEGUN, BEGUN) is not None:
        return "alive" if is_alive(fd) else "ended" if read_state(fd, RESULT, RESULT) is not None else "lost"
    return "waiting"


def is_alive(fd: int) -> bool:
    """Whether a keeper holds its lock, which the kernel takes from it when it dies."""
    try:
        lock = os.open(ALIVE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)


def remove_order(place: DeploymentDir, key: str) -> None:
    """Remove what an order left; its outcome stands in the deployment's state."""
    try:
        with open_subdirectory(place.fd, CONTROL, CONTROL) as control:
            ignore_missing(lambda: shutil.rmtree(order_name(key), dir_fd=control))
    except Unreachable as exc:
        if exc.code != "missing_parent":
            raise


def environment_for(deployment: Deployment, stage: Stage, key: str) -> dict[str, str]:
    """What a command sees: a few variables of the worker, the declared ones, and whose it is."""
    marks = {"INTERLOCK_DEPLOYMENT": deployment.name, "INTERLOCK_STAGE": stage.name, "INTERLOCK_STEP_KEY": key}
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | deployment.environment | marks


def run_command(
    ctx: StepContext, place: DeploymentDir, key: str, command: tuple[str, ...], stage: Stage, deployment: Deployment
) -> dict[str, Any]:
    """Run a command, or attend the one that an earlier worker began for this key, to its end; log its output.

    Returns the keeper's result: {"ended": exited | timeout | stopped | not_started, "exit_code", "why", "duration_ms"}.
    What the command used is told to ``ctx.measure``.
    Raises Refused ``in_doubt`` when the keeper is gone and nobody knows how the command ended.
    """
    order = {
        "command": list(command),
        "directory": place.real,
        "environment": environment_for(deployment, stage, key),
        "timeout_s": stage.timeout_s,
    }
    with order_directory(place, key, make=True) as fd:
        if read_order_state(fd) == "waiting":
            write_state(fd, ORDER, order)
            keeper = start_runner(fd)
        else:
            keeper = None
            ctx.log("taken up where an earlier worker left it")
        try:
            ended = follow_runner(ctx, fd, keeper)
            ctx.measure(**ended.pop("used", {}))
            return ended
        finally:
            if keeper is not None:
                with suppress(subprocess.TimeoutExpired):
                    keeper.wait(timeout=START_S)


def start_runner(fd: int) -> subprocess.Popen[bytes]:
    """Start a keeper in a session of its own. If two are started for one order, one of them does nothing."""
    directory = os.path.realpath(f"/proc/self/fd/{fd}")
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    command = [sys.executable, "-I", str(Path(__file__).with_name("detached_runner.py")), directory]
    keeper = subprocess.Popen(
        command,
        cwd="/",
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + START_S
    while keeper.poll() is None and read_order_state(fd) == "waiting" and time.monotonic() < deadline:
        time.sleep(POLL_S / 5)
    return keeper


def follow_runner(ctx: StepContext, fd: int, keeper: subprocess.Popen[bytes] | None) -> dict[str, Any]:
    """Pass on the output until the result is there; tell the keeper to stop when the run stops or its time is up."""
    at, told_at = 0, 0.0
    while True:
        state = read_order_state(fd)
        at = forward_output(ctx, fd, at, last=state != "alive")
        if state == "ended":
            return dict(read_state(fd, RESULT, RESULT))
        if state == "waiting":
            raise StepRefused("keeper", "The process that looks after the command did not start.", retryable=True)
        if state != "alive":
            words = "The command was started, but its supervisor is gone; the outcome is unknown."
            raise StepRefused("in_doubt", f"{words} Check the deployment and resolve the step.")
        if not told_at and (ctx.stopping() or time.monotonic() >= ctx.deadline):
            told_at = time.monotonic()
            signal_runner(fd, signal.SIGTERM)
        if told_at and time.monotonic() - told_at > STOP_S:
            signal_runner(fd, signal.SIGKILL)
            raise StepRefused("in_doubt", "The command could not be stopped in an orderly way. A person looks at it.")
        time.sleep(POLL_S)


def signal_runner(fd: int, how: signal.Signals) -> None:
    """Signal the keeper; its pid is its own for as long as it holds its lock."""
    begun = read_state(fd, BEGUN, BEGUN)
    if begun and is_alive(fd):
        os.kill(int(begun["pid"]), how)


def forward_output(ctx: StepContext, fd: int, at: int, *, last: bool) -> int:
    """Log the whole lines that were written since ``at``, masked; return where the next begin."""
    try:
        file = os.open(OUTPUT, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return at
    with open(file, "rb") as output:
        output.seek(at)
        while piece := output.read(CHUNK_BYTES):
            whole = piece if last or len(piece) == CHUNK_BYTES else piece[: piece.rfind(b"\n") + 1]
            for line in mask(whole.decode(errors="replace"), ctx.target.mask_key).splitlines():
                ctx.log(line)
            at += len(whole)
            if whole != piece:
                break
    return at


# A stage's own check: exit code 0 is done, 1 is not done, anything else is unknown.


CHECK_TIMEOUT_S = 30


def run_check(place: DeploymentDir, stage: Stage, deployment: Deployment) -> bool | None:
    """Run the check (declared to change nothing), killed after 30 s; ``None`` when it cannot tell."""
    try:
        done = subprocess.run(
            stage.check,
            cwd=place.real,
            env=environment_for(deployment, stage, "check"),
            timeout=CHECK_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {0: True, 1: False}.get(done.returncode)
