"""What is there now, and whether the asked-for changes fit it. Read-only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from actions.types.modify_files.rules import FILE_LIMIT
from actions.types.protocol import Issue, error
from actions.types.tree import Seen, Unreachable, enter, look, parent_of

NEW_FILE_MODE = 0o644


@dataclass(frozen=True)
class Spot:
    """One path as it is now: the file (``None``: nothing there) and the missing parent directories, outermost first."""

    path: str
    seen: Seen | None
    missing: tuple[str, ...] = ()


def spot(root_fd: int, path: str) -> Spot:
    """Look at one path. Raises Unreachable when it cannot be a regular file reached without links."""
    try:
        with parent_of(root_fd, path) as (fd, name):
            return Spot(path, look(fd, name, path, FILE_LIMIT))
    except Unreachable as exc:
        if exc.code != "missing_parent":
            raise
    return Spot(path, None, missing_parents(root_fd, path))


def missing_parents(root_fd: int, path: str) -> tuple[str, ...]:
    parts = path.split("/")[:-1]
    fd = os.dup(root_fd)
    try:
        for depth, part in enumerate(parts):
            shown = "/".join(parts[: depth + 1])
            try:
                here = enter(fd, part, shown)
            except Unreachable as exc:
                if exc.code != "missing_parent":
                    raise
                return tuple("/".join(parts[: n + 1]) for n in range(depth, len(parts)))
            os.close(fd)
            fd = here
    finally:
        os.close(fd)
    return ()


def examine(root_fd: int, n: int, change: dict[str, Any]) -> tuple[Spot | None, list[Issue]]:
    """Return one (well-formed) change's path as it is now, and why the change does not fit it."""
    here = None
    try:
        here = spot(root_fd, change["path"])
        faults = fitting(here, change["operation"], change.get("content")) or writable(root_fd, here)
    except Unreachable as exc:
        faults = [str(exc)]
    return here, [error(fault, f"changes.{n}.path") for fault in faults]


def fitting(here: Spot, operation: str, content: str | None) -> list[str]:
    path, seen = here.path, here.seen
    if operation == "create":
        return [f"{path} exists already. Use operation modify to replace its content."] if seen else []
    if seen is None:
        advice = "Use operation create to make it." if operation == "modify" else "Leave it out."
        return [f"{path} does not exist. {advice}"]
    faults = ownership(here)
    if seen.nlink > 1:
        faults.append(f"{path} has {seen.nlink} hard links; changing it here would leave the other names as they are.")
    if not is_text(seen.data):
        faults.append(f"{path} is not UTF-8 text, so its change cannot be shown. Only text files can be changed.")
    if operation == "modify" and content is not None and seen.data == content.encode():
        faults.append(f"{path} already has exactly this content. Leave it out.")
    return faults


def ownership(here: Spot) -> list[str]:
    """A replaced file is a new one, so its owner can only be kept by root or by the owner."""
    if here.seen is None or os.geteuid() in (0, here.seen.uid):
        return []
    return [f"{here.path} belongs to user id {here.seen.uid}; the worker (user id {os.geteuid()}) could not keep that."]


def writable(root_fd: int, here: Spot) -> list[str]:
    """Return whether the worker may write in the nearest directory that exists."""
    nearest = here.missing[0] if here.missing else here.path
    with parent_of(root_fd, nearest) as (fd, _):
        if os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True):
            return []
    where = nearest.rpartition("/")[0] or "the environment's root"
    return [f"The worker may not write in {where}. An admin gives its user (id {os.geteuid()}) that right."]


def is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
