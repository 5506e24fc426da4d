"""Small files that must survive a crash: directories opened without links, JSON replaced whole, locks.

Shared by executors that keep a state of their own beside what they change.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actions.types.shared.safe_path import (
    RESERVED_PREFIX,
    Unreachable,
    enter_directory,
    open_parent,
    open_root,
    read_file,
)

STATE_LIMIT = 8 * 1024 * 1024  # bytes of one state
LOCK_POLL_S = 0.05


@contextmanager
def open_directory(root: Path | None, path: str) -> Iterator[int]:
    """Yield a descriptor of a directory below an environment's root. Raises Unreachable as ``parent_of`` does."""
    with open_root(root) as root_fd, open_parent(root_fd, path) as (fd, name):
        here = enter_directory(fd, name, path)
        try:
            yield here
        finally:
            os.close(here)


@contextmanager
def open_subdirectory(fd: int, name: str, shown: str, *, make: int | None = None) -> Iterator[int]:
    """Yield the directory ``name`` inside ``fd``; ``make`` is the mode to make it with if it is missing."""
    if make is not None:
        make_directory(fd, name, make)
    here = enter_directory(fd, name, shown)
    try:
        yield here
    finally:
        os.close(here)


def make_directory(fd: int, name: str, mode: int) -> None:
    """Make a directory if there is none; durable. What is there already is left alone."""
    try:
        os.mkdir(name, mode, dir_fd=fd)
    except FileExistsError:
        return
    os.fsync(fd)


def read_state(fd: int, name: str, shown: str) -> Any:
    """Return the JSON value in a file, ``None`` when there is no such file. Raises Unreachable (``corrupt`` too)."""
    data = read_bytes(fd, name, shown)
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError as exc:
        raise Unreachable(
            "corrupt", f"{shown} is not valid JSON. Repair it, or remove it if it is not needed."
        ) from exc


def read_bytes(fd: int, name: str, shown: str) -> bytes | None:
    seen = read_file(fd, name, shown, STATE_LIMIT)
    return None if seen is None else seen.data


def write_state(fd: int, name: str, value: Any) -> None:
    """Replace a JSON file whole, or remove it (``None``): after a crash either the old or the new one is there."""
    if value is None:
        ignore_missing(lambda: os.unlink(name, dir_fd=fd))
        os.fsync(fd)
        return
    write_bytes(fd, name, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def write_bytes(fd: int, name: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a file whole: written beside, synced, renamed over."""
    draft = f"{RESERVED_PREFIX}{name}.tmp"
    ignore_missing(lambda: os.unlink(draft, dir_fd=fd))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(draft, flags, mode, dir_fd=fd), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, name, src_dir_fd=fd, dst_dir_fd=fd)
    os.fsync(fd)


def ignore_missing(call: Callable[[], object]) -> None:
    try:
        call()
    except FileNotFoundError:
        return


class Busy(Exception):
    """Somebody else holds the lock, and the time to wait for it is up."""


@contextmanager
def exclusive_lock(fd: int, name: str, deadline: float, stopping: Callable[[], bool]) -> Iterator[None]:
    """Hold an exclusive lock, kept by the kernel: it is free as soon as its holder is gone, however it went.

    Waits until ``deadline`` (monotonic) or until ``stopping()``, then raises Busy.
    """
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stopping() or time.monotonic() >= deadline:
                    raise Busy from None
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(file)
