"""Verify a whole pack: file, signatures, events, private values, artifacts, readable files, proofs."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from audit.verify.container import Reader
from audit.verify.events import (
    FORMAT,
    HEX64,
    PREDICATE,
    STATEMENT,
    Broken,
    Openings,
    Readable,
    check_chain,
    has_shape,
    parse,
    parse_as,
    statement_json,
    subject_name,
    unbase64,
)
from audit.verify.merkle import leaf_hash, verify_inclusion
from audit.verify.signatures import NO_HEADS, ExternalHeads, TreeHead, Verifier, check_signatures, read_head, read_key

ATTESTATION = "attestation.json"
CHAIN_FILES = (
    "keys.json",
    "head.txt",
    "events.jsonl",
    "openings.jsonl",
    "proofs.jsonl",
    "decisions.json",
    "timeline.md",
)
ARTIFACT = re.compile(r"artifacts/([0-9a-f]{64})\.[a-z0-9]{1,8}")
EXTRA = re.compile(r"extra/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
READING = re.compile(r"README\.md|report\.pdf|changes/[0-9a-f]{64}\.html|context/[a-z0-9_-]{1,60}\.[a-z]{1,8}")
OTHER_FILES = (ARTIFACT, EXTRA, READING)
MAX_FILES = 60_000
ABOUT = {
    "format": str,
    "tenant": str,
    "subject": dict,
    "head": dict,
    "created_at": str,
    "audience": str,
    "sealed": int,
    "signers": list,
    "withheld": dict,
}
PROOF = {"seq": int, "log_index": int, "proof": list}
NO_HEAD = TreeHead("", 0, b"")


@dataclass
class Summary:
    """What an intact pack holds. `closed`: private values that are not opened in it, because withheld or erased.

    `signers`: ids of the keys that signed; `is_trusted`: one of them was given by whoever verifies. `sealed`: the event
    up to which a signed head of the log covers it, of `log_size` entries; `is_head_kept`: that head was given too.
    """

    format: str
    subject: str
    seq: int
    artifacts: int = 0
    openings: int = 0
    closed: int = 0
    withheld: int = 0
    audience: str = ""
    signers: list[str] = field(default_factory=list)
    is_trusted: bool = False
    sealed: int = 0
    log_size: int = 0
    is_head_kept: bool = False

    def __str__(self) -> str:
        what = f"{self.seq} events of {self.subject} up to #{self.seq}, {self.artifacts} artifacts"
        by = ("key " if self.is_trusted else "an unknown key, ") + ", ".join(self.signers)
        sealed = (
            f"in the signed log up to #{self.sealed}, tree head of {self.log_size} entries"
            if self.sealed
            else "not in the signed log yet"
        )
        more = ["tree head matches the one you gave"] * self.is_head_kept
        more += [f"private values not opened: {self.closed}"] * bool(self.closed)
        more += [f"artifacts withheld: {self.withheld}"] * bool(self.withheld)
        return f"{'verified' if self.is_trusted else 'intact'}, signed by {by}: {'; '.join([what, sealed, *more])}"


@dataclass
class _Statement:
    """The signed statement as read; nothing of it is believed before it was compared."""

    about: dict[str, Any]
    files: list[dict[str, Any]]
    envelope: dict[str, Any]


def verify_file(
    file: BinaryIO, keys: Sequence[Verifier] = (), external_heads: ExternalHeads = NO_HEADS, least: int = 1
) -> Summary:
    """Verify a seekable binary file in memory that does not grow with it. Raises Broken, CannotCheck.

    `keys`: those that are trusted; at least `least` of them must have signed. Without any, the verdict is "intact,
    signed by an unknown key". `external_heads`: heads that were kept elsewhere and must agree with this pack.
    """
    reader = Reader(file)
    try:
        statement = _read_statement(reader.first(ATTESTATION))
        for entry in statement.files:
            _check_file(statement, reader, entry)
        reader.end()
        return _check(statement, reader, keys, external_heads, least)
    except RecursionError as error:
        raise Broken("edited", "events.jsonl", "its facts are nested too deeply") from error


def _check_file(statement: _Statement, reader: Reader, entry: dict[str, Any]) -> None:
    """Read one file and compare its bytes. When they are the events, the one that was changed is named."""
    path, artifact = entry["path"], ARTIFACT.fullmatch(entry["path"])
    problem = reader.member(path, entry["size"], entry["sha256"])
    if artifact and (problem or entry["sha256"] != artifact[1]):
        raise Broken("artifact_edited", path, "its bytes do not have the SHA-256 in its name")
    if problem and path == "events.jsonl":
        for _ in check_chain(reader.lines(path), statement.about["head"]["hash"]):
            pass
    if problem:
        raise problem


def _check(
    statement: _Statement, reader: Reader, keys: Sequence[Verifier], external_heads: ExternalHeads, least: int
) -> Summary:
    about, files = statement.about, {entry["path"]: entry for entry in statement.files}
    found = Summary(about["format"], subject_name(about["subject"]), about["head"]["seq"], audience=about["audience"])
    listed = _read_keys(reader.whole("keys.json"))
    offered = [read_key(entry["vkey"]) for entry in listed]
    signers = check_signatures(statement.envelope, offered, keys, least)
    _check_validity(signers, listed, about["created_at"])
    found.signers, found.is_trusted = [key.id for key in signers], bool(keys)
    if found.signers != about["signers"]:
        raise Broken("bad_signature", ATTESTATION, "its signers are not those that it names")
    proofs = _Proofs(reader, [*offered, *keys], external_heads)
    found.log_size, found.is_head_kept = proofs.head.size, proofs.is_kept
    named, last = _check_events(statement, reader, found, files, proofs, external_heads)
    _check_artifacts(named, files, about, found)
    if (last["tenant"], last["subject"], last["seq"], last["at"]) != (
        about["tenant"],
        about["subject"],
        about["head"]["seq"],
        about["created_at"],
    ):
        raise Broken("edited", ATTESTATION, "it does not follow from the events")
    return found


def _check_events(
    statement: _Statement,
    reader: Reader,
    found: Summary,
    files: Mapping[str, Any],
    proofs: "_Proofs",
    external_heads: ExternalHeads,
) -> tuple[dict[str, int], dict[str, Any]]:
    """Go through events, openings and proofs side by side; return the artifacts that are named, and the last event."""
    about = statement.about
    derived = {"decisions.json": hashlib.sha256(), "timeline.md": hashlib.sha256()}
    readable = Readable(about, lambda path, data: derived[path].update(data))
    openings, event = Openings(reader.lines("openings.jsonl")), None
    named: dict[str, int] = {}
    kept_hashes = external_heads.hashes_of(about["subject"])
    for event, body in check_chain(reader.lines("events.jsonl"), about["head"]["hash"]):
        values = openings.of(event)
        readable.add(event, values)
        found.closed += sum(value is None for value in values.values())
        found.openings += sum(value is not None for value in values.values())
        for digest in event["artifacts"]:
            named.setdefault(digest, event["seq"])
        if kept_hashes.get(event["seq"], hash_ := hashlib.sha256(body).hexdigest()) != hash_:
            raise Broken("forked", f"event #{event['seq']}", "its hash is not the one that you gave")
        proofs.check(event["seq"], body)
    if event is None:
        raise Broken("missing", "event #1", "the pack holds no events")
    if max(kept_hashes, default=0) > event["seq"]:
        raise Broken("missing", f"event #{event['seq'] + 1}", f"the hash that you gave is of #{max(kept_hashes)}")
    openings.end()
    readable.end()
    found.sealed = proofs.end(about["sealed"])
    for path, digest in derived.items():
        if digest.hexdigest() != files[path]["sha256"]:
            raise Broken("edited", path, "it does not follow from the events")
    return named, event


def _check_artifacts(named: dict[str, int], files: Mapping[str, Any], about: Mapping[str, Any], found: Summary) -> None:
    """Exactly those that the events name are there, but for those that the statement says are withheld."""
    packed = [match[1] for path in files if (match := ARTIFACT.fullmatch(path))]
    held, withheld = set(packed), set(about["withheld"]["artifacts"])
    if missing := sorted((seq, digest) for digest, seq in named.items() if digest not in held | withheld):
        raise Broken("artifact_missing", f"artifact {missing[0][1]}", f"event #{missing[0][0]} names it")
    if len(packed) != len(held) or (held | withheld) - set(named) or held & withheld:
        odd = min((held | withheld) - set(named) or held & withheld or held)
        raise Broken("artifact_unnamed", f"artifact {odd}", "no event names it, or it is there twice")
    found.artifacts, found.withheld = len(held), len(withheld)


class _Proofs:
    """head.txt, and the lines of proofs.jsonl, read along with the events."""

    def __init__(self, reader: Reader, keys: Sequence[Verifier], external_heads: ExternalHeads) -> None:
        self.lines, self.last, self.n = reader.lines("proofs.jsonl"), 0, 0
        note, self.head, self.is_kept = reader.whole("head.txt").decode("utf-8", "replace"), NO_HEAD, False
        if note:
            self.head = read_head(note, keys)
            self.is_kept = external_heads.has_head(self.head)
        elif external_heads.heads:
            raise Broken("head_unknown", "head.txt", "this pack was made before its events were in the signed log")
        self.next = self._read()

    def check(self, seq: int, body: bytes) -> None:
        if self.next is None or self.next["seq"] != seq:
            return
        item, parts = f"proof of event #{seq}", self.next["proof"]
        if not all(isinstance(part, str) and HEX64.fullmatch(part) for part in parts):
            raise Broken("bad_proof", item, "it contains something other than hashes")
        proof = [bytes.fromhex(part) for part in parts]
        if not verify_inclusion(leaf_hash(body), self.next["log_index"], self.head.size, proof, self.head.root):
            raise Broken("bad_proof", item, "it does not lead from the event to the root of the tree head")
        self.last, self.next = seq, self._read()

    def end(self, claimed: int) -> int:
        """The event up to which all are sealed: those before the last one that is proven are in the head with it."""
        if self.next is not None or self.last != claimed:
            raise Broken("bad_proof", "proofs.jsonl", f"it does not prove the events up to #{claimed}")
        return self.last

    def _read(self) -> dict[str, Any] | None:
        line = next(self.lines, None)
        self.n += line is not None
        if line is None:
            return None
        if not self.head.size:
            raise Broken("bad_proof", "proofs.jsonl", "the pack has no tree head")
        return parse_as(line, PROOF, f"proofs.jsonl line {self.n}", "a proof")


def _read_statement(raw: bytes) -> _Statement:
    envelope = parse_as(raw, {"payload": str, "payloadType": str, "signatures": list}, ATTESTATION, "a DSSE envelope")
    if not all(has_shape(entry, {"keyid": str, "sig": str}) for entry in envelope["signatures"]):
        raise Broken("edited", ATTESTATION, "it is not a DSSE envelope")
    payload = unbase64(envelope["payload"], ATTESTATION)
    shape = {"_type": str, "subject": list, "predicateType": str, "predicate": dict}
    statement = parse_as(payload, shape, ATTESTATION, "an in-toto statement")
    about, files = statement["predicate"], []
    for entry in statement["subject"]:
        if not has_shape(entry, {"name": str, "digest": dict, "annotations": dict}):
            raise Broken("edited", ATTESTATION, "it does not list files")
        files.append({"path": entry["name"], **entry["digest"], **entry["annotations"]})
    if not has_shape(about, ABOUT) or payload != statement_json(about, [{"sha256": "", "size": 0, **f} for f in files]):
        raise Broken("edited", ATTESTATION, f"it is not a statement {STATEMENT} about {PREDICATE}")
    _check_about(about)
    _check_listed(files)
    return _Statement(about, files, envelope)


def _check_about(about: Mapping[str, Any]) -> None:
    head, subject, withheld = about["head"], about["subject"], about["withheld"]
    if about["format"] != FORMAT or not has_shape(head, {"seq": int, "hash": str}):
        raise Broken("edited", ATTESTATION, f"it is not about evidence of the format {FORMAT}")
    if not has_shape(subject, {"kind": str, "id": str}):
        raise Broken("edited", ATTESTATION, "it does not name its subject")
    if not has_shape(withheld, {"artifacts": list, "private": list}) or not all(
        isinstance(part, str) for part in (*withheld["artifacts"], *withheld["private"], *about["signers"])
    ):
        raise Broken("edited", ATTESTATION, "it does not state what is withheld, or who signs")


def _check_listed(files: Sequence[dict[str, Any]]) -> None:
    """The files are listed in the one order, each once, and belong into a pack."""
    shape = {"path": str, "sha256": str, "size": int}
    if not all(has_shape(entry, shape) and entry["size"] >= 0 for entry in files):
        raise Broken("edited", ATTESTATION, "it does not list files")
    names = [entry["path"] for entry in files[:MAX_FILES]]
    rest = names[len(CHAIN_FILES) :]
    if len(names) < len(files) or tuple(names[: len(CHAIN_FILES)]) != CHAIN_FILES or rest != sorted(set(rest)):
        raise Broken("not_canonical", ATTESTATION, "its files are not in the required order, each once")
    if unknown := [path for path in rest if not any(kind.fullmatch(path) for kind in OTHER_FILES)]:
        raise Broken("not_canonical", ATTESTATION, f"{unknown[0]!r} does not belong in a pack")


def _check_validity(signers: Sequence[Verifier], listed: list[dict[str, Any]], at: str) -> None:
    """No key signs for events after it expired or was revoked, as far as the pack itself says when that was."""
    for key in signers:
        ends = [
            entry.get(name) for entry in listed for name in ("valid_until", "revoked_at") if key.id in entry["vkey"]
        ]
        if any(isinstance(end, str) and end < at for end in ends):
            raise Broken(
                "bad_signature", f"signature by {key.id}", "the key had expired or was revoked when this happened"
            )


def _read_keys(raw: bytes) -> list[dict[str, Any]]:
    found = parse(raw, "keys.json")
    if not isinstance(found, list) or not all(isinstance(k, dict) and isinstance(k.get("vkey"), str) for k in found):
        raise Broken("edited", "keys.json", "it does not list keys")
    return found
