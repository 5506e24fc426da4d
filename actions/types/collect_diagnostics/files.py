"""What lies below an environment's root, by names and sizes; no file is opened and no link followed."""

from __future__ import annotations

import heapq
import os
import stat
from datetime import UTC, datetime
from typing import Any

from actions.types.protocol import StepContext
from actions.types.tree import open_root

MOST_ENTRIES = 50_000
MOST_LISTED = 15


def files(ctx: StepContext) -> dict[str, Any]:
    """Count what is below the root: files, directories, links, others, bytes; name the largest and the newest files."""
    counts = {"files": 0, "directories": 0, "links": 0, "others": 0, "bytes": 0}
    seen: list[tuple[int, int, str]] = []
    complete = True
    with open_root(ctx.target.root) as root_fd:
        for where, directories, names, fd in os.fwalk(".", follow_symlinks=False, dir_fd=root_fd):
            for name in (*directories, *names):
                _count(fd, name, where, counts, seen)
            if sum(counts.values()) - counts["bytes"] > MOST_ENTRIES or ctx.stopping():
                complete = False
                break
    largest = heapq.nlargest(MOST_LISTED, seen)
    newest = heapq.nlargest(MOST_LISTED, seen, key=lambda entry: entry[1])
    return {
        "counts": counts,
        "complete": complete,
        "largest": [{"path": path, "bytes": size} for size, _, path in largest],
        "newest": [{"path": path, "modified_at": _at(modified)} for _, modified, path in newest],
    }


def _count(fd: int, name: str, where: str, counts: dict[str, int], seen: list[tuple[int, int, str]]) -> None:
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return  # gone since it was listed
    if stat.S_ISDIR(found.st_mode):
        counts["directories"] += 1
    elif stat.S_ISLNK(found.st_mode):
        counts["links"] += 1
    elif not stat.S_ISREG(found.st_mode):
        counts["others"] += 1
    else:
        counts["files"] += 1
        counts["bytes"] += found.st_size
        seen.append((found.st_size, found.st_mtime_ns, shown(os.path.normpath(f"{where}/{name}"))))


def shown(name: str) -> str:
    """Return a file name as valid text: bytes that are none become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")[:500]


def _at(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat().replace("+00:00", "Z")


def disk(ctx: StepContext) -> dict[str, Any]:
    """The file system that holds the root: bytes and inodes, in all, used and free to the worker."""
    with open_root(ctx.target.root) as root_fd:
        found = os.fstatvfs(root_fd)
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return {
        "bytes": {"total": total, "used": used, "free": free},
        "used_percent": round(100 * used / (used + free)) if used + free else 0,
        "inodes": {"total": found.f_files, "free": found.f_favail},
        "read_only": bool(found.f_flag & os.ST_RDONLY),
    }
