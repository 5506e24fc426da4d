"""Release directories: list, copy and remove one, and the link to the current one.

A manifest is one line per file, ``sha256  mode  path``, sorted by path. Links and special files are refused: what was
reviewed is what is there, and nothing in it leads elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO

from actions.types.redeploy_service.schema import NAME
from actions.types.shared.fs_state import ignore_missing, open_subdirectory, read_bytes, write_bytes
from actions.types.shared.safe_path import DIRECTORY, RESERVED_PREFIX, Unreachable, enter_directory, path_fault

MAX_FILES = 5_000
MAX_BYTES = 2 << 30
MAX_DEPTH = 40
CHUNK_BYTES = 1 << 20
RELEASES, CURRENT, MANIFESTS = "releases", "current", "manifests"
DRAFT_LINK = f"{RESERVED_PREFIX}current"


@dataclass(frozen=True)
class Manifest:
    """What a release consists of: its lines, and its size in bytes."""

    lines: tuple[str, ...]
    size_bytes: int = 0

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One file or directory met on a walk: the open directory it is in, its name there, its path from the top."""

    fd: int
    name: str
    path: str
    info: os.stat_result


def walk(fd: int, shown: str, prefix: str = "", depth: int = 0) -> Iterator[Entry]:
    """Yield everything below a directory, parents first, names sorted, without following links.

    Raises Unreachable: ``symlink``, ``special``, ``bad_path``, ``too_large``.
    """
    if depth > MAX_DEPTH:
        raise Unreachable("too_large", f"{shown} is nested more than {MAX_DEPTH} directories deep.")
    for name in sorted(os.listdir(fd)):
        path = prefix + name
        if fault := path_fault(path):
            raise Unreachable("bad_path", f"{shown} has a file that cannot be released: {fault}")
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            raise Unreachable("symlink", f"{shown}/{path} is a symbolic link. A release holds files: put a copy there.")
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            raise Unreachable("special", f"{shown}/{path} is a device, socket or pipe. A release holds regular files.")
        yield Entry(fd, name, path, info)
        if stat.S_ISDIR(info.st_mode):
            below = enter_directory(fd, name, f"{shown}/{path}")
            try:
                yield from walk(below, shown, f"{path}/", depth + 1)
            finally:
                os.close(below)


def scan(fd: int, shown: str) -> Manifest:
    """Read a whole directory and return its manifest. Read-only. Raises Unreachable, OSError."""
    lines: list[str] = []
    total = 0
    for entry in walk(fd, shown):
        if stat.S_ISDIR(entry.info.st_mode):
            continue
        total += entry.info.st_size
        if len(lines) >= MAX_FILES or total > MAX_BYTES:
            raise Unreachable("too_large", f"{shown} has more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB.")
        with open_entry(entry) as file:
            lines.append(manifest_line(hashlib.file_digest(file, "sha256").hexdigest(), entry))
    if not lines:
        raise Unreachable("empty", f"{shown} has no files.")
    return Manifest(tuple(sorted(lines, key=manifest_path)), total)


def open_entry(entry: Entry) -> FileIO:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(os.open(entry.name, flags, dir_fd=entry.fd), "rb", buffering=0)


def manifest_line(digest: str, entry: Entry) -> str:
    return f"{digest}  {mode_to_keep(entry.info):04o}  {entry.path}"


def manifest_path(line: str) -> str:
    return line.split("  ", 2)[2]


def mode_to_keep(info: os.stat_result) -> int:
    """A copy may be read by all, and run if its owner may run it; set-id bits do not come along."""
    return 0o755 if info.st_mode & stat.S_IXUSR else 0o644


def copy_release(source: int, to: int, shown: str) -> Manifest:
    """Copy a directory's content into an empty one, durably; return the manifest of what was copied."""
    lines: list[str] = []
    for entry in walk(source, shown):
        *above, name = entry.path.split("/")
        fd = os.dup(to)
        try:
            for part in above:
                below = os.open(part, DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            if stat.S_ISDIR(entry.info.st_mode):
                os.mkdir(name, 0o755, dir_fd=fd)
            else:
                lines.append(manifest_line(_copy_file(entry, fd, name), entry))
            os.fsync(fd)
        finally:
            os.close(fd)
    return Manifest(tuple(sorted(lines, key=manifest_path)))


def _copy_file(entry: Entry, fd: int, name: str) -> str:
    digest, mode = hashlib.sha256(), mode_to_keep(entry.info)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open_entry(entry) as source, open(os.open(name, flags, 0o600, dir_fd=fd), "wb") as made:
        while piece := source.read(CHUNK_BYTES):
            digest.update(piece)
            made.write(piece)
        os.fchmod(made.fileno(), mode)
        made.flush()
        os.fsync(made.fileno())
    return digest.hexdigest()


def find_difference(fd: int, planned: Manifest, shown: str) -> str:
    """Say which planned file is no longer so; empty when all are. What a service wrote beside them is its own."""
    found = {manifest_path(line): line for line in scan(fd, shown).lines}
    for line in planned.lines:
        here = found.get(manifest_path(line))
        if here != line:
            return f"{shown}/{manifest_path(line)} {'has been changed' if here else 'is missing'}."
    return ""


def remove_tree(fd: int, name: str) -> None:
    """Remove a directory and all below it; links in it are removed, not followed. None there is fine."""
    ignore_missing(lambda: shutil.rmtree(name, dir_fd=fd))
    os.fsync(fd)


def exists(fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def read_current(home: int) -> str | None:
    """Return the release that ``current`` points to, ``None`` without the link. Raises Unreachable (``current``)."""
    try:
        found = os.readlink(CURRENT, dir_fd=home)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise Unreachable("current", "current is there, but is no symbolic link. Move it out of the way.") from exc
    head, _, release = found.partition("/")
    if head != RELEASES or not re.fullmatch(NAME, release):
        raise Unreachable("current", "current points outside the service's releases. Point it to releases/<release>.")
    return release


def set_current(home: int, release: str | None) -> None:
    """Switch ``current`` by one rename (or remove it): whoever looks sees the old or the new release, never none."""
    ignore_missing(lambda: os.unlink(DRAFT_LINK, dir_fd=home))
    if release is None:
        ignore_missing(lambda: os.unlink(CURRENT, dir_fd=home))
    else:
        os.symlink(f"{RELEASES}/{release}", DRAFT_LINK, dir_fd=home)
        os.rename(DRAFT_LINK, CURRENT, src_dir_fd=home, dst_dir_fd=home)
    os.fsync(home)


def list_releases(fd: int, directory: str, manifests: int) -> list[str]:
    """The releases in a directory, the one last taken up (by its kept manifest, else by its own time) first."""
    found = []
    with open_subdirectory(fd, directory, directory) as here:
        for name in os.listdir(here):
            info = os.stat(name, dir_fd=here, follow_symlinks=False)
            if re.fullmatch(NAME, name) and stat.S_ISDIR(info.st_mode):
                kept = manifests >= 0 and exists(manifests, f"{name}.txt")
                taken_up = os.stat(f"{name}.txt", dir_fd=manifests) if kept else info
                found.append((taken_up.st_mtime_ns, name))
    return [name for _, name in sorted(found, reverse=True)]


def write_manifest(manifests: int, release: str, manifest: Manifest) -> None:
    write_bytes(manifests, f"{release}.txt", manifest.text.encode())


def read_manifest(manifests: int, release: str) -> Manifest | None:
    """Return the manifest that was kept when a release was switched to."""
    data = read_bytes(manifests, f"{release}.txt", f"the manifest of {release}")
    return None if data is None else Manifest(tuple(data.decode().splitlines()))
