"""Files of a pack on their way into it: hashed as they are written, kept in memory while small, else on disk."""

import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

IN_MEMORY_BYTES = 1 << 20
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Member:
    """A file of the pack; `pieces()` gives its bytes, as often as asked."""

    path: str
    size: int
    crc: int
    sha256: str
    pieces: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, path: str, content: bytes) -> "Member":
        digest = hashlib.sha256(content).hexdigest()
        return cls(path, len(content), zlib.crc32(content), digest, lambda: iter((content,)))

    @classmethod
    def measured(cls, path: str, pieces: Callable[[], Iterator[bytes]]) -> "Member":
        """A file whose bytes stay where they are; read once here."""
        size, crc, sha256 = 0, 0, hashlib.sha256()
        for piece in pieces():
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            sha256.update(piece)
        return cls(path, size, crc, sha256.hexdigest(), pieces)

    def listed(self) -> dict[str, str | int]:
        """How the statement lists it."""
        return {"path": self.path, "sha256": self.sha256, "size": self.size}

    def content(self) -> bytes:
        return b"".join(self.pieces())


class Spool:
    """A file that is being written."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  closed with the last member of it
        self.size, self.crc, self.sha256 = 0, 0, hashlib.sha256()

    def __del__(self) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.size, self.crc = self.size + len(data), zlib.crc32(data, self.crc)
        self.sha256.update(data)

    def line(self, data: bytes) -> None:
        self.write(data + b"\n")

    def member(self, path: str) -> Member:
        """What was written, as a file of the pack. Nothing may be written afterwards."""
        return Member(path, self.size, self.crc, self.sha256.hexdigest(), self._pieces)

    def _pieces(self) -> Iterator[bytes]:
        at = 0
        while at < self.size:
            self.file.seek(at)
            piece = self.file.read(PIECE_BYTES)
            at += len(piece)
            yield piece
