"""Verify an evidence pack offline: `python -m audit.verify FILE`. Needs the standard library and this file only.

A pack is a ZIP in one canonical encoding, so that no byte of it is without meaning. Its events are the canonical bytes
that were hashed, each naming the hash of the one before; they name their artifacts and commit to private values; the
manifest is nothing but what follows from them. So whatever single byte is changed, something here no longer fits. Who
can rewrite everything can still make another pack that fits: "intact" is not "authentic".
"""

import hashlib
import hmac
import json
import re
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = "interlock.evidence/1"
STATUS = "intact, not authenticated"
CHAIN_FILES = ("events.jsonl", "openings.jsonl", "decisions.json", "timeline.md")
ARTIFACT = re.compile(r"artifacts/([0-9a-f]{64})\.[a-z0-9]{1,8}")
EXTRA = re.compile(r"extra/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
HEX64 = re.compile(r"[0-9a-f]{64}")
PIECE_BYTES = 1 << 20
MAX_PACK_BYTES = (1 << 32) - 1
MAX_MANIFEST_BYTES = 1 << 26
MAX_FILES = 60_000
ENVELOPE = {
    "v": int, "tenant": str, "subject": dict, "seq": int, "verb": str, "outcome": str, "actor": str,
    "correlation_id": str, "at": str, "facts": dict, "artifacts": list, "prev": str,
}  # fmt: skip
OPENING = {"seq": int, "name": str, "salt": str, "value": str}
FILE = {"path": str, "sha256": str, "size": int}
FIXED = (10, 0, 0, 0, 0x21)  # in ZIP headers: version needed, flags, stored, 00:00:00, 1980-01-01


class Broken(Exception):
    """What is broken (`item`), how (`kind`), and why we say so (`detail`)."""

    def __init__(self, kind: str, item: str, detail: str = "") -> None:
        self.kind, self.item, self.detail = kind, item, detail
        super().__init__(f"{kind}: {item}" + (f": {detail}" if detail else ""))


@dataclass(frozen=True)
class Summary:
    """What an intact pack holds."""

    subject: str
    seq: int
    artifacts: int

    def __str__(self) -> str:
        return f"{STATUS}: {self.seq} events of {self.subject} up to #{self.seq}, {self.artifacts} artifacts"


# --- events -----------------------------------------------------------------------------------------------------------


def parse(data: bytes, item: str) -> Any:
    """JSON without duplicate keys and without what JSON cannot say. Raises Broken("edited")."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("duplicate key")
        return dict(pairs)

    def never(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise Broken("edited", item, "it is not readable JSON") from error


def plain(value: Any) -> bytes:
    """Canonical JSON of strings, integers, lists and maps with ASCII keys (where it equals RFC 8785)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8", "replace")


def read_event(body: bytes, item: str) -> dict[str, Any]:
    """The envelope in these bytes. Raises Broken("edited") when it is not one."""
    event = parse(body, item)
    if not isinstance(event, dict) or event.keys() != ENVELOPE.keys():
        raise Broken("edited", item, "it is not an event envelope")
    if any(type(event[name]) is not kind for name, kind in ENVELOPE.items()) or event["v"] != 1:
        raise Broken("edited", item, "it is not an event envelope of version 1")
    subject, named = event["subject"], event["artifacts"]
    if subject.keys() != {"kind", "id"} or not all(isinstance(part, str) for part in subject.values()):
        raise Broken("edited", item, "it does not name its subject")
    if not all(isinstance(digest, str) and HEX64.fullmatch(digest) for digest in named):
        raise Broken("edited", item, "it names artifacts that are no SHA-256")
    return event


def check_chain(bodies: Sequence[bytes], head: str) -> list[dict[str, Any]]:
    """Check seq, subject and links of a whole chain that ends in the hash `head`; return the envelopes."""
    hashes = ["", *(hashlib.sha256(body).hexdigest() for body in bodies)]
    events: list[dict[str, Any]] = []
    for seq, body in enumerate(bodies, 1):
        event = read_event(body, f"event #{seq}")
        if event["prev"] != hashes[seq - 1]:
            _blame(seq, event, bodies, hashes, head)
        if event["seq"] != seq:
            raise Broken("edited", f"event #{seq}", f"it says that it is #{event['seq']}")
        events.append(event)
        if (event["tenant"], event["subject"]) != (events[0]["tenant"], events[0]["subject"]):
            raise Broken("edited", f"event #{seq}", "it is about another subject")
    if hashes[-1] != head:
        raise Broken("edited", f"event #{len(bodies)}", "its hash is not the head of the chain")
    return events


def _blame(seq: int, event: dict[str, Any], bodies: Sequence[bytes], hashes: list[str], head: str) -> None:
    """Event `seq` does not link to the one before: say which of the two is wrong. Always raises."""
    if event["seq"] != seq:
        comes_later = any(_peek(body, "seq") == seq for body in bodies[seq:])
        kind = "reordered" if event["seq"] < seq or comes_later else "missing"
        raise Broken(kind, f"event #{seq}", f"#{event['seq']} stands in its place")
    claimed = head if seq == len(bodies) else _peek(bodies[seq], "prev")
    if hashes[seq] == claimed and seq > 1:
        raise Broken("edited", f"event #{seq - 1}", f"its hash is not the one that #{seq} was chained to")
    raise Broken("edited", f"event #{seq}", "it is not chained to the event before it")


def _peek(body: bytes, name: str) -> Any:
    try:
        return read_event(body, "")[name]
    except Broken:
        return None


def commitments_of(event: Mapping[str, Any]) -> dict[str, str]:
    """The private values that an event commits to: {name: HMAC-SHA256 in hex}."""
    return {
        name: fact["commitment"]
        for name, fact in event["facts"].items()
        if isinstance(fact, dict) and fact.keys() == {"commitment"} and HEX64.fullmatch(str(fact["commitment"]))
    }


def opens(commitment: str, salt: bytes, value: bytes) -> bool:
    """Whether salt and value open the commitment."""
    return hmac.compare_digest(hmac.new(salt, value, hashlib.sha256).hexdigest().encode(), commitment.encode())


def opening_line(seq: int, name: str, salt: bytes, value: str) -> bytes:
    """One line of openings.jsonl, without its newline."""
    return plain({"seq": seq, "name": name, "salt": salt.hex(), "value": value})


def check_openings(lines: Sequence[bytes], events: Sequence[dict[str, Any]]) -> dict[tuple[int, str], str]:
    """Check that every opening opens a commitment, once and in order; return {(seq, name): value}."""
    values: dict[tuple[int, str], str] = {}
    last: tuple[int, str] = (0, "")
    for n, line in enumerate(lines, 1):
        found = parse(line, f"openings.jsonl line {n}")
        if not isinstance(found, dict) or {k: type(v) for k, v in found.items()} != OPENING or plain(found) != line:
            raise Broken("edited", f"openings.jsonl line {n}", "it is not an opening")
        at = (found["seq"], found["name"])
        item = f"opening of {found['name']!r} in event #{found['seq']}"
        commitment = commitments_of(events[at[0] - 1]).get(at[1]) if 0 < at[0] <= len(events) else None
        if commitment is None or at <= last or not HEX64.fullmatch(found["salt"]):
            raise Broken("opening_mismatch", item, "no event commits to it")
        if not opens(commitment, bytes.fromhex(found["salt"]), found["value"].encode()):
            raise Broken("opening_mismatch", item, "it is not what the event committed to")
        values[at] = found["value"]
        last = at
    return values


# --- files that follow from events and openings -----------------------------------------------------------------------


def word(text: str) -> str:
    """Text that neither Markdown nor a terminal would act on."""
    return re.sub(r"[^A-Za-z0-9 .:/@+_-]", "?", text)


def name_of(event: Mapping[str, Any]) -> str:
    return word(f"{event['subject']['kind']} {event['subject']['id']}")


def decisions_json(events: Sequence[dict[str, Any]], values: Mapping[tuple[int, str], str]) -> bytes:
    """Who decided what: the events of approval, with private values put in where they are known."""
    decisions = []
    for event in events:
        if event["verb"].startswith("approval."):
            opened = {name: values.get((event["seq"], name)) for name in commitments_of(event)}
            facts = {k: {"private": opened[k]} if k in opened else v for k, v in event["facts"].items()}
            kept = {name: event[name] for name in ("seq", "at", "verb", "outcome", "actor", "correlation_id")}
            decisions.append({**kept, "facts": facts})
    return json.dumps(decisions, indent=2, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def timeline_md(events: Sequence[dict[str, Any]]) -> bytes:
    """What happened, for people. ASCII only, and nothing in it that Markdown or a terminal would act on."""

    def facts(event: dict[str, Any]) -> str:
        text = json.dumps({**event["facts"], **dict.fromkeys(commitments_of(event), "(private)")}, sort_keys=True)
        text = re.sub(r"[`|<>\x7f]", "?", text)
        return text if len(text) <= 240 else text[:240] + " ..."

    last = word(events[-1]["at"])
    out = [f"# Evidence of {name_of(events[0])}", "", f"{len(events)} events up to {last}. Intact, not authenticated:"]
    out += [
        "every event holds the hash of the one before it, but nothing is signed. Check: `python -m audit.verify FILE`"
    ]
    out += ["", "| # | Time (UTC) | Event | Outcome | Actor | Facts | Artifacts |", "|---|---|---|---|---|---|---|"]
    for event in events:
        cells = [str(event["seq"]), *(word(event[name]) for name in ("at", "verb", "outcome", "actor"))]
        named = " ".join(digest[:12] for digest in event["artifacts"])
        out.append(f"| {' | '.join(cells)} | `{facts(event)}` | {named} |")
    return "\n".join(out).encode() + b"\n"


def manifest_json(events: Sequence[dict[str, Any]], head: str, files: Sequence[Mapping[str, Any]]) -> bytes:
    """The manifest: it follows from the events and the other files alone."""
    last = events[-1]
    return plain({
        "format": FORMAT, "status": STATUS, "tenant": last["tenant"], "subject": last["subject"],
        "head": {"seq": last["seq"], "hash": head}, "created_at": last["at"], "files": files,
    })  # fmt: skip


# --- the one encoding: ZIP, stored, fixed times and attributes, no extras ---------------------------------------------


def local_header(name: str, crc: int, size: int) -> bytes:
    return struct.pack("<4s5H3I2H", b"PK\3\4", *FIXED, crc, size, size, len(name), 0) + name.encode("ascii")


def directory_entry(name: str, crc: int, size: int, offset: int) -> bytes:
    entry = (b"PK\1\2", 0x0314, *FIXED, crc, size, size, len(name), 0, 0, 0, 0, 0o100644 << 16, offset)
    return struct.pack("<4s6H3I5H2I", *entry) + name.encode("ascii")


def end_record(count: int, size: int, offset: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


class _Reader:
    """Reads members in order, and compares every byte around them with the one canonical encoding."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = file.seek(0, 2)
        if self.left >= MAX_PACK_BYTES:
            raise Broken("not_a_pack", "file", "it is larger than any pack")
        self.offset = file.seek(0)
        self.directory: list[bytes] = []

    def take(self, size: int, item: str) -> bytes:
        data = self.file.read(size) if size <= self.left else b""
        if len(data) < size:
            raise Broken("truncated", item, "the file ends before it does")
        self.left -= size
        return data

    def first(self, name: str) -> bytes:
        """The content of the first member, whose size is not known from elsewhere."""
        header = self.take(len(local_header(name, 0, 0)), name)
        if header[:4] != b"PK\3\4" or header[30:] != name.encode():
            raise Broken("not_a_pack", name, "this file is not an evidence pack, or its first bytes were changed")
        size = struct.unpack("<I", header[18:22])[0]
        if size > MAX_MANIFEST_BYTES:
            raise Broken("not_a_pack", name, "it is larger than any manifest")
        content = self.take(size, name)
        self._expect(header, name, zlib.crc32(content), size)
        return content

    def member(self, name: str, size: int, sha256: str) -> tuple[bytes, Broken | None]:
        """The content (b"" for artifacts and extras, which are only hashed), and what is wrong with it."""
        header = self.take(len(local_header(name, 0, 0)), name)
        crc, digest, kept = 0, hashlib.sha256(), []
        for start in range(0, size, PIECE_BYTES):
            piece = self.take(min(PIECE_BYTES, size - start), name)
            crc = zlib.crc32(piece, crc)
            digest.update(piece)
            if name in CHAIN_FILES:
                kept.append(piece)
        artifact = ARTIFACT.fullmatch(name)
        if artifact and digest.hexdigest() != artifact[1]:
            raise Broken("artifact_edited", name, "its bytes do not have the SHA-256 that it is named by")
        if digest.hexdigest() != sha256:
            return b"".join(kept), Broken("edited", name, "its bytes are not those that the manifest names")
        self._expect(header, name, crc, size)
        return b"".join(kept), None

    def end(self) -> None:
        """Compare the directory and what follows."""
        directory = b"".join(self.directory)
        expected = directory + end_record(len(self.directory), len(directory), self.offset)
        if self.take(len(expected), "ZIP directory") != expected:
            raise Broken("not_canonical", "ZIP directory", "it is not the one encoding that a pack has")
        if self.left:
            raise Broken("not_canonical", "end of file", f"{self.left} bytes were appended")

    def _expect(self, header: bytes, name: str, crc: int, size: int) -> None:
        if header != local_header(name, crc, size):
            raise Broken("not_canonical", name, "its ZIP header is not the one encoding that a pack has")
        self.directory.append(directory_entry(name, crc, size, self.offset))
        self.offset += len(header) + size


def verify_file(file: BinaryIO) -> Summary:
    """Verify a seekable binary file; memory holds the events, not the artifacts. Raises Broken."""
    reader = _Reader(file)
    raw = reader.first("manifest.json")
    manifest = parse(raw, "manifest.json")
    files = _listed(manifest)
    contents: dict[str, bytes] = {}
    for entry in files:
        content, problem = reader.member(entry["path"], entry["size"], entry["sha256"])
        if problem and entry["path"] == "events.jsonl":
            check_chain(_lines(content, "events.jsonl"), str(manifest["head"]["hash"]))  # names the event
        if problem:
            raise problem
        if entry["path"] in CHAIN_FILES:
            contents[entry["path"]] = content
    reader.end()
    try:
        return _check(raw, manifest, files, contents)
    except RecursionError as error:
        raise Broken("edited", "events.jsonl", "its facts are nested too deeply") from error


def _check(raw: bytes, manifest: Any, files: list[Any], contents: Mapping[str, bytes]) -> Summary:
    bodies = _lines(contents["events.jsonl"], "events.jsonl")
    head = str(manifest["head"]["hash"])
    events = check_chain(bodies, head)
    if not events:
        raise Broken("missing", "event #1", "the pack holds no events")
    values = check_openings(_lines(contents["openings.jsonl"], "openings.jsonl"), events)
    for name, derived in (("decisions.json", decisions_json(events, values)), ("timeline.md", timeline_md(events))):
        if contents[name] != derived:
            raise Broken("edited", name, "it is not what follows from the events")
    packed = [match[1] for entry in files if (match := ARTIFACT.fullmatch(entry["path"]))]
    held = set(packed)
    named = {digest: event["seq"] for event in reversed(events) for digest in event["artifacts"]}
    if missing := sorted((seq, digest) for digest, seq in named.items() if digest not in held):
        raise Broken("artifact_missing", f"artifact {missing[0][1]}", f"event #{missing[0][0]} names it")
    if packed != sorted(named):
        odd = min(held - set(named) or held)
        raise Broken("artifact_unnamed", f"artifact {odd}", "no event names it, or it is there twice")
    if raw != manifest_json(events, head, files):
        raise Broken("edited", "manifest.json", "it is not what follows from the events and files")
    return Summary(name_of(events[0]), len(events), len(packed))


def _listed(manifest: Any) -> list[Any]:
    """The manifest's files, after checking that they are listed in the one order, each once."""
    fields = manifest if isinstance(manifest, dict) else {}
    files, head = fields.get("files"), fields.get("head")
    if fields.get("format") != FORMAT or type(files) is not list or type(head) is not dict or "hash" not in head:
        raise Broken("edited", "manifest.json", f"it is not a manifest of {FORMAT}")
    if any(type(e) is not dict or {k: type(v) for k, v in e.items()} != FILE or e["size"] < 0 for e in files):
        raise Broken("edited", "manifest.json", "it does not list files")
    names = [entry["path"] for entry in files[:MAX_FILES]]
    rest = names[len(CHAIN_FILES) :]
    if len(names) < len(files) or tuple(names[: len(CHAIN_FILES)]) != CHAIN_FILES or rest != sorted(set(rest)):
        raise Broken("not_canonical", "manifest.json", "its files are not in the one order, each once")
    if unknown := [name for name in rest if not (ARTIFACT.fullmatch(name) or EXTRA.fullmatch(name))]:
        raise Broken("not_canonical", "manifest.json", f"{unknown[0]!r} does not belong into a pack")
    return files


def _lines(content: bytes, name: str) -> list[bytes]:
    if content and not content.endswith(b"\n"):
        raise Broken("truncated", name, "its last line has no end")
    return content.split(b"\n")[:-1]


def main(arguments: Sequence[str]) -> int:
    """Print the verdict on one file; 0 when it is intact, else 1."""
    if len(arguments) != 1:
        print("usage: python -m audit.verify FILE", file=sys.stderr)
        return 1
    try:
        with Path(arguments[0]).open("rb") as file:
            print(verify_file(file))
    except Broken as broken:
        print(f"BROKEN {broken}")
        return 1
    except OSError as error:
        print(f"cannot read {arguments[0]}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
