"""Verify an archive offline: `python -m audit.archive_verify FILE [--key VKEY]`. Standard library and `cryptography`.

An archive is gzipped JSON lines: a header, every sealed event of a range in the log's order, the artifacts that they
name, and an end. The header has the Merkle frontier (RFC 9162) before the range, and the head that was signed over the
tree that ends with it. Growing the frontier by the events must give that head's root; each event must follow its
subject's last one; each artifact must be what its name says.
"""

import argparse
import base64
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from audit.seals.merkle import Frontier, leaf_hash
from audit.seals.notes import Checkpoint, read_checkpoint, read_vkey, verified

FORMAT = "interlock.archive/1"
MOST_LINE = 1 << 28


class BrokenArchive(Exception):
    """What does not fit, in words."""


@dataclass
class Found:
    """What an archive holds. `keys`: the key that signed its head, as the archive itself names it."""

    tenant: str = ""
    first: int = 0
    upto: int = 0
    root: str = ""
    at: str = ""
    key: str = ""
    events: int = 0
    artifacts: int = 0
    chains: dict[str, tuple[int, str]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        indexes = f"log index {self.first} to {self.upto - 1}"
        return f"{self.events} events of {self.tenant}, {indexes}, signed by {self.key} at {self.at}"


def verify(file: BinaryIO, trusted: str = "") -> Found:
    """Read an archive and check all of it; return what it holds. Raises BrokenArchive with the first thing wrong."""
    lines = _lines(file)
    header = _next(lines, "the header")
    if header.get("format") != FORMAT:
        raise BrokenArchive(f"it is not an archive of the format {FORMAT}")
    found = Found(header["tenant"], header["first"], header["upto"])
    found.key = trusted or header["key"]
    head = _signed(header, found.key)
    if head.size != found.upto:
        raise BrokenArchive(f"its head is over {head.size} events, not {found.upto}")
    found.root, found.at = head.root.hex(), head.said("at")
    tree = Frontier.unpacked(found.first, bytes.fromhex(header["frontier"]))
    named: set[str] = set()
    for n in range(found.first, found.upto):
        line = _next(lines, f"event {n}")
        body = base64.b64decode(line["event"], validate=True) if line.get("index") == n else b""
        _chain(found, json.loads(body or b"{}"), hashlib.sha256(body).hexdigest(), n, named)
        tree.append(leaf_hash(body))
    if tree.root() != head.root:
        raise BrokenArchive("these are not the events that the head was signed over")
    _rest(lines, found, named)
    return found


def _rest(lines: Iterator[dict[str, Any]], found: Found, named: set[str]) -> None:
    """The artifacts and the end."""
    for line in lines:
        if "end" in line:
            said = {"events": found.events, "artifacts": found.artifacts}
            if line["end"] != said or next(lines, None) is not None:
                raise BrokenArchive("it does not end as it says")
            return
        data = base64.b64decode(line["data"], validate=True)
        if hashlib.sha256(data).hexdigest() != line["artifact"] or line["artifact"] not in named:
            raise BrokenArchive(f"artifact {line['artifact']} is not what an event named")
        found.artifacts += 1
    raise BrokenArchive("it ends in the middle")


def _chain(found: Found, event: dict[str, Any], digest: str, n: int, named: set[str]) -> None:
    """Each event names the hash of its subject's last one, and belongs to the tenant."""
    if not event or event["tenant"] != found.tenant:
        raise BrokenArchive(f"event {n} is not there, or another tenant's")
    subject = event["subject"]["id"]
    seq, prev = found.chains.get(subject, (event["seq"] - 1, event["prev"]))
    if (event["seq"], event["prev"]) != (seq + 1, prev):
        raise BrokenArchive(f"event {n} does not follow its subject's last one")
    found.chains[subject] = event["seq"], digest
    named.update(event["artifacts"])
    found.events += 1


def _signed(header: dict[str, Any], vkey: str) -> Checkpoint:
    """The head of the header, if this key signed it."""
    try:
        text, _ = verified(header["head"], [read_vkey(vkey)])
        return read_checkpoint(text)
    except ValueError as error:
        raise BrokenArchive(f"its head does not verify: {error}") from error


def _lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(file) as plain:
            while line := plain.readline(MOST_LINE):
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise BrokenArchive(f"it cannot be read: {error}") from error


def _next(lines: Iterator[dict[str, Any]], what: str) -> dict[str, Any]:
    found = next(lines, None)
    if not isinstance(found, dict):
        raise BrokenArchive(f"{what} is missing")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m audit.archive_verify", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file")
    parser.add_argument("--key", default="", help="the verifier key that you trust (default: the one in the archive)")
    options = parser.parse_args(arguments)
    try:
        with open(options.file, "rb") as file:
            found = verify(file, options.key)
    except (BrokenArchive, KeyError, TypeError, ValueError, OSError) as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    print(f"intact: {found}" + ("" if options.key else " (give --key to say whom you trust)"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
