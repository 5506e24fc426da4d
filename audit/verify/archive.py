"""Verify an archive of the log, offline.

An archive is gzipped JSON lines: a header, every sealed event of a range in the log's order, the artifacts that they
name, and an end. The header has the Merkle frontier (RFC 9162) before the range, and the head that was signed over the
tree that ends with it. Growing the frontier by the events must give that head's root; each event must follow its
subject's last one; each artifact must have the SHA-256 that it is named by.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from audit.verify.events import Broken
from audit.verify.merkle import Frontier, leaf_hash
from audit.verify.signatures import (
    NO_HEADS,
    ExternalHeads,
    InvalidNote,
    TreeHead,
    Verifier,
    parse_tree_head,
    read_key,
    verify_note,
)

GZIP_MAGIC = b"\x1f\x8b"
FORMAT = "interlock.archive/1"
MAX_LINE_BYTES = 1 << 28


@dataclass
class ArchiveSummary:
    """Contents of an intact archive. `signers`: ids of the keys that signed its head; `is_trusted`: one was given."""

    tenant: str = ""
    first: int = 0
    upto: int = 0
    root: str = ""
    at: str = ""
    signers: list[str] = field(default_factory=list)
    is_trusted: bool = False
    is_head_kept: bool = False
    events: int = 0
    artifacts: int = 0
    chains: dict[str, tuple[int, str]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        verdict = "verified, signed by key" if self.is_trusted else "intact, signed by an unknown key,"
        indexes = f"log index {self.first} to {self.upto - 1}"
        kept = "; tree head matches the one you gave" if self.is_head_kept else ""
        return (
            f"{verdict} {', '.join(self.signers)} at {self.at}: {self.events} events of {self.tenant}, {indexes}{kept}"
        )


def is_archive(file: BinaryIO) -> bool:
    """Whether a seekable file begins as an archive does. Leaves it at its beginning."""
    start = file.read(len(GZIP_MAGIC))
    file.seek(0)
    return start == GZIP_MAGIC


def verify_archive(
    file: BinaryIO, keys: Sequence[Verifier] = (), external_heads: ExternalHeads = NO_HEADS, least: int = 1
) -> ArchiveSummary:
    """Read an archive and check all of it; return what it holds. Raises Broken with the first thing wrong, CannotCheck.

    `keys`: those that are trusted; without any, the key that the archive names. `external_heads`: heads that were kept
    elsewhere and must agree with the archive's head.
    """
    try:
        return _verify_lines(_read_lines(file), keys, external_heads, least)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise Broken("edited", "archive", f"it cannot be read: {error!r}") from error


def _verify_lines(
    lines: Iterator[dict[str, Any]], keys: Sequence[Verifier], external_heads: ExternalHeads, least: int
) -> ArchiveSummary:
    header = _next_line(lines, "header")
    if header.get("format") != FORMAT:
        raise Broken("not_an_archive", "header", f"it is not an archive of the format {FORMAT}")
    found = ArchiveSummary(header["tenant"], header["first"], header["upto"], is_trusted=bool(keys))
    head = _verify_head(header, keys or [read_key(header["key"])], least, found)
    found.root, found.at = head.root.hex(), head.extension("at")
    found.is_head_kept = external_heads.has_head(head, "head")
    tree = Frontier.unpacked(found.first, bytes.fromhex(header["frontier"]))
    named: set[str] = set()
    for n in range(found.first, found.upto):
        line = _next_line(lines, f"event {n}")
        body = base64.b64decode(line["event"], validate=True) if line.get("index") == n else b""
        _check_link(found, json.loads(body or b"{}"), hashlib.sha256(body).hexdigest(), n, named)
        tree.append(leaf_hash(body))
    if tree.root() != head.root:
        raise Broken("edited", "events", "these are not the events that the tree head was signed over")
    _check_artifacts(lines, found, named)
    return found


def _check_artifacts(lines: Iterator[dict[str, Any]], found: ArchiveSummary, named: set[str]) -> None:
    """The artifacts and the end."""
    for line in lines:
        if "end" in line:
            counts = {"events": found.events, "artifacts": found.artifacts}
            if line["end"] != counts or next(lines, None) is not None:
                raise Broken("truncated", "end", "its last line does not match its contents")
            return
        data = base64.b64decode(line["data"], validate=True)
        if hashlib.sha256(data).hexdigest() != line["artifact"] or line["artifact"] not in named:
            raise Broken("artifact_edited", f"artifact {line['artifact']}", "it is not what an event named")
        found.artifacts += 1
    raise Broken("truncated", "end", "its last line is missing")


def _check_link(found: ArchiveSummary, event: dict[str, Any], digest: str, n: int, named: set[str]) -> None:
    """Each event names the hash of its subject's last one, and belongs to the tenant."""
    if not event or event["tenant"] != found.tenant:
        raise Broken("missing", f"event {n}", "it is missing, or it belongs to another tenant")
    subject = event["subject"]["id"]
    seq, prev = found.chains.get(subject, (event["seq"] - 1, event["prev"]))
    if (event["seq"], event["prev"]) != (seq + 1, prev):
        raise Broken("reordered", f"event {n}", "it does not follow the previous event of its subject")
    found.chains[subject] = event["seq"], digest
    named.update(event["artifacts"])
    found.events += 1


def _verify_head(header: dict[str, Any], keys: Sequence[Verifier], least: int, found: ArchiveSummary) -> TreeHead:
    """The head of the header, if these keys signed it."""
    try:
        text, signers = verify_note(header["head"], keys)
        head = parse_tree_head(text)
    except InvalidNote as error:
        raise Broken("bad_signature", "head", str(error)) from error
    if len({key.public for key in signers}) < least:
        raise Broken("unknown_signer", "head", f"fewer than {least} of the keys that you trust signed it")
    found.signers = [key.id for key in signers]
    if head.size != found.upto:
        raise Broken("edited", "head", f"it has {head.size} entries, not {found.upto}")
    return head


def _read_lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(file) as plain:
            while line := plain.readline(MAX_LINE_BYTES):
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise Broken("truncated", "archive", f"it cannot be read: {error}") from error


def _next_line(lines: Iterator[dict[str, Any]], what: str) -> dict[str, Any]:
    found = next(lines, None)
    if not isinstance(found, dict):
        raise Broken("truncated", what, "it is missing")
    return found
