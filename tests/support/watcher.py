"""An independent witness: inotify on a directory tree, in a thread of the test, counting what lands where."""

import ctypes
import os
import struct
import threading
from collections import Counter
from pathlib import Path

IN_CREATE, IN_DELETE, IN_MOVED_TO, IN_CLOSE_WRITE = 0x100, 0x200, 0x80, 0x8
_libc = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("iIII")


class Watcher:
    """Counts, by relative path, the renames onto a path (`renamed`), creations, writes and deletions under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.renamed: Counter[str] = Counter()
        self.deleted: Counter[str] = Counter()
        self.created: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self._names: dict[int, Path] = {}

    def __enter__(self) -> "Watcher":
        self._fd = _libc.inotify_init1(os.O_CLOEXEC)
        for directory in [self.root, *[p for p in self.root.rglob("*") if p.is_dir()]]:
            mask = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_CLOSE_WRITE
            watch = _libc.inotify_add_watch(self._fd, str(directory).encode(), mask)
            if watch < 0:
                raise OSError(ctypes.get_errno(), f"cannot watch {directory}")
            self._names[watch] = directory
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(timeout=5)
        for fd in (self._fd, self._stop_read, self._stop_write):
            os.close(fd)

    def _read(self) -> None:
        import select

        while True:
            ready, _, _ = select.select([self._fd, self._stop_read], [], [])
            if self._fd in ready:
                self._take(os.read(self._fd, 65536))
            elif self._stop_read in ready:
                return

    def _take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0").decode()
            path = str((self._names[watch] / name).relative_to(self.root))
            for bit, seen in (
                (IN_MOVED_TO, self.renamed),
                (IN_DELETE, self.deleted),
                (IN_CREATE, self.created),
                (IN_CLOSE_WRITE, self.written),
            ):
                if mask & bit:
                    seen[path] += 1
            at += _HEADER.size + length
