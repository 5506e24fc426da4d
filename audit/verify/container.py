"""The one encoding: ZIP, stored, fixed times and attributes, no extras; every byte around the files is compared."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from audit.verify.events import Broken

PIECE_BYTES = 1 << 20
MAX_PACK_BYTES = (1 << 32) - 1
MAX_WHOLE_BYTES = 1 << 26  # of what is read whole: the first file, heads and keys, one line
FIXED = (10, 0, 0, 0, 0x21)  # in headers: version needed, flags, stored, 00:00:00, 1980-01-01


def local_header(name: str, crc: int, size: int) -> bytes:
    return struct.pack("<4s5H3I2H", b"PK\3\4", *FIXED, crc, size, size, len(name), 0) + name.encode("ascii")


def directory_entry(name: str, crc: int, size: int, offset: int) -> bytes:
    entry = (b"PK\1\2", 0x0314, *FIXED, crc, size, size, len(name), 0, 0, 0, 0, 0o100644 << 16, offset)
    return struct.pack("<4s6H3I5H2I", *entry) + name.encode("ascii")


def end_record(count: int, size: int, offset: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


class Reader:
    """Reads the files in order, once, and afterwards the lines of those that were read. Keeps none of them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, file.seek(0, 2)
        if self.left > MAX_PACK_BYTES:
            raise Broken("not_a_pack", "file", "it is too large for a pack")
        self.offset = file.seek(0)
        self.directory: list[bytes] = []
        self.places: dict[str, tuple[int, int]] = {}

    def first(self, name: str) -> bytes:
        """The content of the first file, whose size is not known from elsewhere."""
        start = self._take(30, "file")
        found = self._take(min(struct.unpack("<H", start[26:28])[0], 100), "file").decode("ascii", "replace")
        if start[:4] != b"PK\3\4" or found != name:
            raise Broken("not_a_pack", name, "this file is not an evidence pack, or its first bytes were changed")
        size = struct.unpack("<I", start[18:22])[0]
        if size > MAX_WHOLE_BYTES:
            raise Broken("not_a_pack", name, "it is too large")
        content = self._take(size, name)
        self._expect(start + name.encode(), name, zlib.crc32(content), size)
        return content

    def member(self, name: str, size: int, sha256: str) -> Broken | None:
        """Read the next file; return what is wrong with its content. Raises for what is wrong around it."""
        header = self._take(len(local_header(name, 0, 0)), name)
        crc, digest = 0, hashlib.sha256()
        for start in range(0, size, PIECE_BYTES):
            piece = self._take(min(PIECE_BYTES, size - start), name)
            crc = zlib.crc32(piece, crc)
            digest.update(piece)
        self.places[name] = (self.offset + len(header), size)
        if digest.hexdigest() != sha256:
            return Broken("edited", name, "its bytes do not have the listed SHA-256")
        self._expect(header, name, crc, size)
        return None

    def end(self) -> None:
        """Compare the directory and what follows."""
        directory = b"".join(self.directory)
        expected = directory + end_record(len(self.directory), len(directory), self.offset)
        if self._take(len(expected), "ZIP directory") != expected:
            raise Broken("not_canonical", "ZIP directory", "it does not have the encoding of a pack")
        if self.left:
            raise Broken("not_canonical", "end of file", f"{self.left} bytes were appended")

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file that was read, without their ends; several files can be read by turns."""
        (start, left), rest = self.places[name], b""
        while left:
            self.file.seek(start)
            piece = self.file.read(min(left, PIECE_BYTES))
            start, left = start + len(piece), left - len(piece)
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if not piece or len(rest) > MAX_WHOLE_BYTES:
                raise Broken("truncated", name, "it ends early, or a line has no end")
        if rest:
            raise Broken("truncated", name, "its last line has no end")

    def whole(self, name: str) -> bytes:
        start, size = self.places[name]
        if size > MAX_WHOLE_BYTES:
            raise Broken("edited", name, "it is too large")
        self.file.seek(start)
        return self.file.read(size)

    def _take(self, size: int, item: str) -> bytes:
        data = self.file.read(size) if size <= self.left else b""
        if len(data) < size:
            raise Broken("truncated", item, "the file ends in the middle of it")
        self.left -= size
        return data

    def _expect(self, header: bytes, name: str, crc: int, size: int) -> None:
        if header != local_header(name, crc, size):
            raise Broken("not_canonical", name, "its ZIP header does not have the encoding of a pack")
        self.directory.append(directory_entry(name, crc, size, self.offset))
        self.offset += len(header) + size
