"""Have a keeper run a command, exactly once for one key, from any worker; and look what came of it.

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

from actions.types.durable import inner, read_state, with_missing_ok, write_state
from actions.types.outcomes import Refused
from actions.types.protocol import StepContext
from actions.types.rerun_deployment_stage.rules import Deployment, Stage
from actions.types.tree import Unreachable
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
LOOK_S = 0.05
START_S = 15.0
STOP_S = 15.0
PIECE = 64 * 1024


@dataclass(frozen=True)
class Place:
    """The open directory of a deployment, and where it is."""

    fd: int
    path: str

    @property
    def real(self) -> str:
        return os.path.realpath(f"/proc/self/fd/{self.fd}")


def order_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


@contextmanager
def order_directory(place: Place, key: str, *, make: bool = False) -> Iterator[int]:
    mode = 0o700 if make else None
    with ExitStack() as stack:
        control = stack.enter_context(inner(place.fd, CONTROL, f"{place.path}/{CONTROL}", make=mode))
        yield stack.enter_context(inner(control, order_name(key), f"{place.path}/{CONTROL}", make=mode))


def found(place: Place, key: str) -> str:
    """Say what there is of an order: ``none``, ``waiting`` (not begun), ``alive``, ``ended`` or ``lost``. Read-only."""
    try:
        with order_directory(place, key) as fd:
            return standing(fd)
    except Unreachable as exc:
        if exc.code != "missing_parent":
            raise
        return "none"


def standing(fd: int) -> str:
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


def forget(place: Place, key: str) -> None:
    """Remove what an order left; its outcome stands in the deployment's state."""
    try:
        with inner(place.fd, CONTROL, CONTROL) as control:
            with_missing_ok(lambda: shutil.rmtree(order_name(key), dir_fd=control))
    except Unreachable as exc:
        if exc.code != "missing_parent":
            raise


def environment_for(deployment: Deployment, stage: Stage, key: str) -> dict[str, str]:
    """What a command sees: a few variables of the worker, the declared ones, and whose it is."""
    marks = {"INTERLOCK_DEPLOYMENT": deployment.name, "INTERLOCK_STAGE": stage.name, "INTERLOCK_STEP_KEY": key}
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | deployment.environment | marks


def carry_out(
    ctx: StepContext, place: Place, key: str, command: tuple[str, ...], stage: Stage, deployment: Deployment
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
        if standing(fd) == "waiting":
            write_state(fd, ORDER, order)
            keeper = launch(fd)
        else:
            keeper = None
            ctx.log("taken up where an earlier worker left it")
        try:
            ended = attend(ctx, fd, keeper)
            ctx.measure(**ended.pop("used", {}))
            return ended
        finally:
            if keeper is not None:
                with suppress(subprocess.TimeoutExpired):
                    keeper.wait(timeout=START_S)


def launch(fd: int) -> subprocess.Popen[bytes]:
    """Start a keeper in a session of its own. If two are started for one order, one of them does nothing."""
    directory = os.path.realpath(f"/proc/self/fd/{fd}")
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    command = [sys.executable, "-I", str(Path(__file__).with_name("keeper.py")), directory]
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
    while keeper.poll() is None and standing(fd) == "waiting" and time.monotonic() < deadline:
        time.sleep(LOOK_S / 5)
    return keeper


def attend(ctx: StepContext, fd: int, keeper: subprocess.Popen[bytes] | None) -> dict[str, Any]:
    """Pass on the output until the result is there; tell the keeper to stop when the run stops or its time is up."""
    at, told_at = 0, 0.0
    while True:
        state = standing(fd)
        at = pass_on(ctx, fd, at, last=state != "alive")
        if state == "ended":
            return dict(read_state(fd, RESULT, RESULT))
        if state == "waiting":
            raise Refused("keeper", "The process that looks after the command did not start.", retryable=True)
        if state != "alive":
            words = "The command was begun, but whatever looked after it is gone, so nobody knows how it ended."
            raise Refused("in_doubt", f"{words} A person looks at the deployment and settles the step.")
        if not told_at and (ctx.stopping() or time.monotonic() >= ctx.deadline):
            told_at = time.monotonic()
            tell(fd, signal.SIGTERM)
        if told_at and time.monotonic() - told_at > STOP_S:
            tell(fd, signal.SIGKILL)
            raise Refused("in_doubt", "The command could not be stopped in an orderly way. A person looks at it.")
        time.sleep(LOOK_S)


def tell(fd: int, how: signal.Signals) -> None:
    """Signal the keeper; its pid is its own for as long as it holds its lock."""
    begun = read_state(fd, BEGUN, BEGUN)
    if begun and is_alive(fd):
        os.kill(int(begun["pid"]), how)


def pass_on(ctx: StepContext, fd: int, at: int, *, last: bool) -> int:
    """Log the whole lines that were written since ``at``, masked; return where the next begin."""
    try:
        file = os.open(OUTPUT, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return at
    with open(file, "rb") as output:
        output.seek(at)
        while piece := output.read(PIECE):
            whole = piece if last or len(piece) == PIECE else piece[: piece.rfind(b"\n") + 1]
            for line in mask(whole.decode(errors="replace"), ctx.target.mask_key).splitlines():
                ctx.log(line)
            at += len(whole)
            if whole != piece:
                break
    return at
