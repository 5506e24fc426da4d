"""Reach files below a directory without ever being led out of it.

Every component is opened relative to the one before with ``O_NOFOLLOW``, so a directory swapped for a symbolic link
while we look is refused by the kernel, not by a check made earlier. Shared by executors and checks; changes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATH_LIMIT = 1024  # UTF-8 bytes
NAME_LIMIT = 255  # bytes, NAME_MAX of every file system in use
RESERVED_PREFIX = ".interlock-"  # temporary files that a step makes beside its target
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
INVISIBLE_CATEGORIES = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control and zero-width characters, lone surrogates, line separators


class Unreachable(Exception):
    """A path cannot be used; ``code`` is a stable word and ``str()`` says what to do about it."""

    def __init__(self, code: str, message: str):
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class FileSnapshot:
    """A regular file as it was read: content, SHA-256 (hex), permission bits, owner, links, extended attributes."""

    data: bytes
    sha256: str
    mode: int
    uid: int
    gid: int
    nlink: int
    xattrs: tuple[str, ...] = ()

    @property
    def mode_text(self) -> str:
        return f"{self.mode:04o}"


def path_fault(path: str) -> str:
    """Return why ``path`` is no plain relative path, in words; empty when it is one. Pure."""
    if not path:
        return "The path is empty."
    if any(unicodedata.category(char) in INVISIBLE_CATEGORIES for char in path):
        return "The path contains a control, invisible or unpaired character. Use printable characters only."
    if path.startswith("/"):
        return "The path is absolute. Write it relative to the environment's root, such as etc/app.yaml."
    if "\\" in path:
        return "The path contains a backslash. Separate directories with /."
    if len(path.encode()) > PATH_LIMIT:
        return f"The path is longer than {PATH_LIMIT} bytes."
    return next((fault for fault in map(_name_fault, path.split("/")) if fault), "")


def _name_fault(name: str) -> str:
    if name == "..":
        return "The path climbs with '..'. Write it relative to the environment's root, without '..'."
    if name in ("", "."):
        return "The path has an empty or '.' part. Write it without '//', './' or a trailing '/'."
    if len(name.encode()) > NAME_LIMIT:
        return f"A name in the path is longer than {NAME_LIMIT} bytes."
    if name.startswith(RESERVED_PREFIX):
        return f"Names that begin with {RESERVED_PREFIX} are reserved for Interlock's own temporary files."
    return ""


@contextmanager
def open_root(root: Path | None) -> Iterator[int]:
    """Yield a descriptor of an environment's root. The root itself may be reached through links: an admin chose it."""
    if root is None:
        raise Unreachable("no_root", "This environment has no root directory. An admin sets it on the environment.")
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise Unreachable(
            "no_root",
            f"Cannot open the environment's root ({_describe_os_error(exc)}). An admin checks it on the environment.",
        ) from exc
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def open_parent(root_fd: int, path: str) -> Iterator[tuple[int, str]]:
    """Yield (descriptor of the directory, file name) of a relative path.

    Raises Unreachable: ``bad_path``, ``missing_parent``, ``symlink``, ``not_a_directory``, ``denied``.
    """
    fault = path_fault(path)
    if fault:
        raise Unreachable("bad_path", fault)
    *directories, name = path.split("/")
    fd = os.dup(root_fd)
    try:
        for depth, part in enumerate(directories):
            here = enter_directory(fd, part, "/".join(directories[: depth + 1]))
            os.close(fd)
            fd = here
        yield fd, name
    finally:
        os.close(fd)


def enter_directory(fd: int, name: str, shown: str) -> int:
    """Open the directory ``name`` inside ``fd`` without following a link; ``shown`` is its path for messages."""
    try:
        return os.open(name, DIRECTORY, dir_fd=fd)
    except FileNotFoundError as exc:
        raise Unreachable("missing_parent", f"The directory {shown} does not exist.") from exc
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _not_a_directory(fd, name, shown) from exc
        raise Unreachable("denied", f"The directory {shown} cannot be opened ({_describe_os_error(exc)}).") from exc


def _not_a_directory(fd: int, name: str, shown: str) -> Unreachable:
    try:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except OSError:
        mode = stat.S_IFDIR
    if stat.S_ISLNK(mode):
        return Unreachable("symlink", f"{shown} is a symbolic link. Links are not followed: name the real path.")
    if stat.S_ISDIR(mode):
        return Unreachable(
            "unstable", f"{shown} is being replaced by something else. Try again when it no longer changes."
        )
    return Unreachable("not_a_directory", f"{shown} is a file, not a directory.")


def read_file(fd: int, name: str, shown: str, limit: int) -> FileSnapshot | None:
    """Read the regular file ``name`` in the directory ``fd``; ``None`` when there is nothing by that name.

    Special files are recognised before they are opened. Raises Unreachable: ``symlink``, ``directory``, ``special``,
    ``too_large`` (more than ``limit`` bytes), ``denied``, ``unstable`` (it is being written while we read).
    """
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        _require_regular(found, shown)
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise Unreachable("symlink", f"{shown} has just become a symbolic link. Links are not followed.") from exc
        raise Unreachable("denied", f"{shown} cannot be read ({_describe_os_error(exc)}).") from exc
    try:
        return _read_open_file(file, shown, limit)
    finally:
        os.close(file)


def _require_regular(found: os.stat_result, shown: str) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise Unreachable("symlink", f"{shown} is a symbolic link. Links are not followed: name the real path.")
    if stat.S_ISDIR(found.st_mode):
        raise Unreachable("directory", f"{shown} is a directory. Only files can be changed.")
    if not stat.S_ISREG(found.st_mode):
        raise Unreachable("special", f"{shown} is a device, socket or pipe. Only regular files can be changed.")


def _read_open_file(file: int, shown: str, limit: int) -> FileSnapshot:
    before = os.fstat(file)
    _require_regular(before, shown)
    if before.st_size > limit:
        raise Unreachable("too_large", f"{shown} has {before.st_size} bytes; the limit is {limit}.")
    parts: list[bytes] = []
    total = 0
    while total <= limit and (part := os.read(file, min(limit + 1 - total, 1 << 18))):
        parts.append(part)
        total += len(part)
    after = os.fstat(file)
    if total != after.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise Unreachable(
            "unstable", f"{shown} is being written by something else. Try again when it no longer changes."
        )
    data = b"".join(parts)
    return FileSnapshot(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        mode=stat.S_IMODE(after.st_mode),
        uid=after.st_uid,
        gid=after.st_gid,
        nlink=after.st_nlink,
        xattrs=xattr_names(file),
    )


def xattr_names(file: int) -> tuple[str, ...]:
    """Return a file's extended attributes that belong to it (not SELinux labels, which the system sets by policy)."""
    try:
        return tuple(sorted(name for name in os.listxattr(file) if name != "security.selinux"))
    except OSError:
        return ()


def _describe_os_error(exc: OSError) -> str:
    return (exc.strerror or type(exc).__name__).lower()
