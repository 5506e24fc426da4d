"""Write one file: one rename per path, durable before it is reported, refused if the file changed since planning.

A new content is written beside its target under a name derived from the step's idempotency key, so whoever retries
after a crash finds and removes the leftover. Between the last look and the rename another process may still write in
place; POSIX offers no compare-and-rename, and that window is a few microseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
from collections.abc import Sequence
from typing import Any

from actions.types.modify_files.plan import describe_drift, matches_state
from actions.types.modify_files.schema import FILE_LIMIT
from actions.types.shared.safe_path import (
    RESERVED_PREFIX,
    FileSnapshot,
    Unreachable,
    enter_directory,
    open_parent,
    read_file,
    xattr_names,
)

NEW_DIRECTORY_MODE = 0o755
NOREPLACE = 1  # RENAME_NOREPLACE, linux/fs.h

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


class WriteRefused(Exception):
    """The step was not carried out and nothing was changed; ``code`` is a stable word."""

    def __init__(self, code: str, message: str):
        self.code = code
        super().__init__(message)


def temporary_name(idempotency_key: str) -> str:
    return f"{RESERVED_PREFIX}{hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]}.tmp"


def apply_state(
    root_fd: int,
    path: str,
    frm: dict[str, Any],
    to: dict[str, Any],
    data: bytes | None,
    key: str,
    *,
    make: Sequence[str] = (),
    sweep: Sequence[str] = (),
) -> bool:
    """Bring ``path`` from the state ``frm`` to the state ``to``; return whether anything had to be done.

    ``data`` is the content of ``to``; ``make`` are directories to make on the way, ``sweep`` directories to remove
    afterwards if they are empty. Idempotent. Raises Refused (``precondition``, ``content``) before any effect,
    Unreachable, OSError.
    """
    if data is not None and hashlib.sha256(data).hexdigest() != to["sha256"]:
        raise WriteRefused(
            "content", f"The content kept for {path} is not the one that was planned. Nothing was written."
        )
    make_directories(root_fd, path, make if to["exists"] else ())
    changed = False
    try:
        with open_parent(root_fd, path) as (fd, name):
            changed = _apply_file_state(fd, name, path, frm, to, data, temporary_name(key))
    except Unreachable as exc:
        if exc.code != "missing_parent" or to["exists"]:
            raise  # nothing there and nothing wanted there is fine
    return remove_empty(root_fd, sweep) or changed


def _apply_file_state(
    fd: int, name: str, path: str, frm: dict[str, Any], to: dict[str, Any], data: bytes | None, temporary: str
) -> bool:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=fd)
    seen = read_file(fd, name, path, FILE_LIMIT)
    if matches_state(to, seen):
        os.fsync(fd)  # a run that crashed may not have come this far
        return False
    _require_state(frm, path, seen)
    if data is None:
        os.unlink(name, dir_fd=fd)
    else:
        _replace(fd, name, path, frm, to, data, temporary)
    os.fsync(fd)
    return True


def _require_state(state: dict[str, Any], path: str, seen: FileSnapshot | None) -> None:
    if not matches_state(state, seen):
        raise WriteRefused("precondition", describe_drift(path, state, seen) + " Nothing was written.")
    if seen is not None and seen.nlink > 1:
        raise WriteRefused("precondition", f"{path} has {seen.nlink} hard links now. Nothing was written.")


def _replace(
    fd: int, name: str, path: str, frm: dict[str, Any], to: dict[str, Any], data: bytes, temporary: str
) -> None:
    try:
        _write_temporary(fd, name if frm["exists"] else None, temporary, to, data)
        _require_state(frm, path, read_file(fd, name, path, FILE_LIMIT))
        if frm["exists"]:
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        else:
            rename_new(fd, temporary, name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=fd)
        raise


def _write_temporary(fd: int, model: str | None, temporary: str, to: dict[str, Any], data: bytes) -> None:
    """Write ``data`` to a new file ``temporary``: mode and owner of ``to``, extended attributes of ``model``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(temporary, flags, 0o600, dir_fd=fd)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        found = os.fstat(file)
        owner = to.get("uid", found.st_uid), to.get("gid", found.st_gid)
        if owner != (found.st_uid, found.st_gid):
            os.fchown(file, *owner)
        if model is not None:
            _copy_attributes(fd, model, file)
        os.fchmod(file, int(to["mode"], 8))  # after chown, which clears set-id bits
        os.fsync(file)
    finally:
        os.close(file)


def _copy_attributes(fd: int, model: str, file: int) -> None:
    source = os.open(model, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    try:
        for attribute in xattr_names(source):
            os.setxattr(file, attribute, os.getxattr(source, attribute))
    finally:
        os.close(source)


def rename_new(fd: int, temporary: str, name: str, path: str) -> None:
    """Rename to a name that must be free; the kernel decides, so nothing is ever overwritten."""
    code = errno.ENOSYS
    if _renameat2 is not None:
        if _renameat2(fd, os.fsencode(temporary), fd, os.fsencode(name), NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):  # no RENAME_NOREPLACE here: link() refuses an existing name too
        code = _link_new(fd, temporary, name)
    if code == errno.EEXIST:
        raise WriteRefused("precondition", f"{path} has just been created by something else. Nothing was written.")
    if code:
        raise OSError(code, os.strerror(code))


def _link_new(fd: int, temporary: str, name: str) -> int:
    try:
        os.link(temporary, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
    except OSError as exc:
        return exc.errno or errno.EIO
    os.unlink(temporary, dir_fd=fd)
    return 0


def make_directories(root_fd: int, path: str, make: Sequence[str]) -> None:
    """Make those parents of ``path`` that are listed in ``make``. Durable; an existing one is left alone."""
    parts = path.split("/")[:-1]
    fd = os.dup(root_fd)
    try:
        for depth, part in enumerate(parts if make else []):
            shown = "/".join(parts[: depth + 1])
            if shown in make:
                _make_directory(fd, part)
            here = enter_directory(fd, part, shown)
            os.close(fd)
            fd = here
    finally:
        os.close(fd)


def _make_directory(fd: int, name: str) -> None:
    try:
        os.mkdir(name, NEW_DIRECTORY_MODE, dir_fd=fd)
    except FileExistsError:
        return
    here = enter_directory(fd, name, name)
    try:
        os.fchmod(here, NEW_DIRECTORY_MODE)  # whatever the umask
    finally:
        os.close(here)
    os.fsync(fd)


def remove_empty(root_fd: int, directories: Sequence[str]) -> bool:
    """Remove the directories (innermost first) that are empty; return whether one was. Others stay as they are."""
    removed = False
    for directory in directories:
        try:
            with open_parent(root_fd, directory) as (fd, name):
                os.rmdir(name, dir_fd=fd)
                os.fsync(fd)
                removed = True
        except Unreachable as exc:
            if exc.code != "missing_parent":
                raise
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
    return removed


def has_empty(root_fd: int, directories: Sequence[str]) -> bool:
    """Return whether one of the directories is there and empty, so that ``remove_empty`` has something to do."""
    for directory in directories:
        with contextlib.suppress(Unreachable), open_parent(root_fd, directory) as (fd, name):
            here = enter_directory(fd, name, directory)
            try:
                if not os.listdir(here):
                    return True
            finally:
                os.close(here)
    return False
