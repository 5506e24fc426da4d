"""Run one command and write down how it ended: `python -I detached_runner.py DIRECTORY`, with the order in `order.json`
there.

It is a process of its own session, so that it outlives the worker that started it: a worker that is killed loses its
lease, but how the command ended is on disk for whoever takes the step up. It holds the lock `alive` for as long as it
lives. The command and all that it starts are ended together: at the timeout, on SIGTERM, and when the command is done.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

GRACE_S = 5.0
POLL_S = 0.05
LOCK_S = 2.0
CHUNK_BYTES = 64 * 1024
MAX_CHUNKS = 64  # at one go, so that a chatty command is still looked after
MAX_OUTPUT = 8 * 1024 * 1024
PR_SET_CHILD_SUBREAPER = 36


class DetachedRunner:
    """One order, from start to its result."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.is_told_to_stop = False
        self.written = 0

    def stop(self, *_: object) -> None:
        self.is_told_to_stop = True

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        try:
            child = subprocess.Popen(
                self.order["command"],
                cwd=self.order["directory"],
                env=self.order["environment"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return {"ended": "not_started", "exit_code": None, "why": error.strerror or str(error), "duration_ms": 0}
        with open("output.log", "ab", buffering=0) as self.output:
            ended = self.wait(child, began + self.order["timeout_s"])
            end_descendants(GRACE_S if ended != "exited" else 0)
            self.copy(child)
        took_ms, code = int((time.monotonic() - began) * 1000), child.wait()
        return {"ended": ended, "exit_code": code, "why": "", "duration_ms": took_ms, "used": resource_usage()}

    def wait(self, child: subprocess.Popen[bytes], deadline: float) -> str:
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        while child.poll() is None:
            if self.is_told_to_stop:
                return "stopped"
            if time.monotonic() >= deadline:
                return "timeout"
            if not self.copy(child):
                time.sleep(POLL_S)
        return "exited"

    def copy(self, child: subprocess.Popen[bytes]) -> bool:
        """Take what the command has written, keep it up to the limit, and drop the rest; whether there was any."""
        assert child.stdout is not None
        anything = False
        for _ in range(MAX_CHUNKS):
            try:
                piece = os.read(child.stdout.fileno(), CHUNK_BYTES)
            except BlockingIOError:
                break
            if not piece:
                break
            anything = True
            room = MAX_OUTPUT - self.written
            self.output.write(piece[: max(0, room)])
            if 0 < room < len(piece):
                self.output.write(b"\n[the output was cut here]\n")
            self.written += len(piece)
        return anything


def resource_usage() -> dict[str, float]:
    """What the command and all that was waited for used: the system's own count."""
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_s": theirs.ru_utime + theirs.ru_stime, "peak_memory_bytes": theirs.ru_maxrss * 1024}


def end_descendants(grace_s: float) -> None:
    """SIGTERM and then SIGKILL to everything the command started, also what left its session: we are its reaper."""
    if grace_s:
        signal_descendants(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while running_descendants() and time.monotonic() < deadline:
            time.sleep(POLL_S)
    while running_descendants():
        signal_descendants(signal.SIGKILL)
        time.sleep(0.01)


def running_descendants() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if is_running(p)]


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def signal_descendants(how: signal.Signals) -> None:
    for process in running_descendants():
        try:
            process.send_signal(how)
        except psutil.Error:
            continue


def write_json(name: str, value: dict[str, Any]) -> None:
    draft = Path(f"{name}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(name)
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def take_lock(lock: int) -> bool:
    """Take the lock. Who merely looks whether we live holds it for a moment too, so once is not enough."""
    deadline = time.monotonic() + LOCK_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(POLL_S / 5)
    return False


def main(directory: str) -> None:
    os.chdir(directory)
    lock = os.open("alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not take_lock(lock):
        return  # another keeper has this order
    if os.path.exists("begun"):
        return  # it was carried out, or may have been, by a keeper that is gone
    keeper = DetachedRunner(json.loads(Path("order.json").read_text(encoding="utf-8")))
    signal.signal(signal.SIGTERM, keeper.stop)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    write_json("begun", {"pid": os.getpid()})
    write_json("result.json", keeper.run())


if __name__ == "__main__":
    main(sys.argv[1])
