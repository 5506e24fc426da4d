"""Verify an archive offline: `python -m audit.verify.archive FILE [--key VKEY]`. Standard library and `cryptography`.

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

from audit.verify.merkle import Frontier, leaf_hash
from audit.verify.signed_note import TreeHead, parse_tree_head, parse_vkey, verify_note

FORMAT = "interlock.archive/1"
MAX_LINE_BYTES = 1 << 28


class BrokenArchive(Exception):
    """What does not fit, in words."""


@dataclass
class ArchiveSummary:
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


def verify_archive(file: BinaryIO, trusted: str = "") -> ArchiveSummary:
    """Read an archive and check all of it; return what it holds. Raises BrokenArchive with the first thing wrong."""
    lines = _read_lines(file)
    header = _next_line(lines, "the header")
    if header.get("format") != FORMAT:
        raise BrokenArchive(f"it is not an archive of the format {FORMAT}")
    found = ArchiveSummary(header["tenant"], header["first"], header["upto"])
    found.key = trusted or header["key"]
    head = _verify_head(header, found.key)
    if head.size != found.upto:
        raise BrokenArchive(f"its head is over {head.size} events, not {found.upto}")
    found.root, found.at = head.root.hex(), head.said("at")
    tree = Frontier.unpacked(found.first, bytes.fromhex(header["frontier"]))
    named: set[str] = set()
    for n in range(found.first, found.upto):
        line = _next_line(lines, f"event {n}")
        body = base64.b64decode(line["event"], validate=True) if line.get("index") == n else b""
        _check_link(found, json.loads(body or b"{}"), hashlib.sha256(body).hexdigest(), n, named)
        tree.append(leaf_hash(body))
    if tree.root() != head.root:
        raise BrokenArchive("these are not the events that the head was signed over")
    _check_artifacts(lines, found, named)
    return found


def _check_artifacts(lines: Iterator[dict[str, Any]], found: ArchiveSummary, named: set[str]) -> None:
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


def _check_link(found: ArchiveSummary, event: dict[str, Any], digest: str, n: int, named: set[str]) -> None:
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


def _verify_head(header: dict[str, Any], vkey: str) -> TreeHead:
    """The head of the header, if this key signed it."""
    try:
        text, _ = verify_note(header["head"], [parse_vkey(vkey)])
        return parse_tree_head(text)
    except ValueError as error:
        raise BrokenArchive(f"its head does not verify: {error}") from error


def _read_lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(file) as plain:
            while line := plain.readline(MAX_LINE_BYTES):
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise BrokenArchive(f"it cannot be read: {error}") from error


def _next_line(lines: Iterator[dict[str, Any]], what: str) -> dict[str, Any]:
    found = next(lines, None)
    if not isinstance(found, dict):
        raise BrokenArchive(f"{what} is missing")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m audit.verify.archive", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file")
    parser.add_argument("--key", default="", help="the verifier key that you trust (default: the one in the archive)")
    options = parser.parse_args(arguments)
    try:
        with open(options.file, "rb") as file:
            found = verify_archive(file, options.key)
    except (BrokenArchive, KeyError, TypeError, ValueError, OSError) as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    print(f"intact: {found}" + ("" if options.key else " (give --key to say whom you trust)"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
