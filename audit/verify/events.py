"""Events, read strictly: canonical bytes, chains, commitments, and the files that follow from them."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

ENVELOPE = {
    "v": int,
    "tenant": str,
    "subject": dict,
    "seq": int,
    "verb": str,
    "outcome": str,
    "actor": str,
    "correlation_id": str,
    "at": str,
    "facts": dict,
    "artifacts": list,
    "prev": str,
}
OPENING = {"seq": int, "name": str, "salt": str, "value": str}


def read_event(body: bytes, item: str) -> dict[str, Any]:
    """The envelope in these bytes. Raises Broken("edited") when it is not one."""
    event = parse(body, item)
    if not has_shape(event, ENVELOPE) or event["v"] != 1:
        raise Broken("edited", item, "it is not an event envelope")
    if not has_shape(event["subject"], {"kind": str, "id": str}):
        raise Broken("edited", item, "it does not name its subject")
    if not all(isinstance(digest, str) and HEX64.fullmatch(digest) for digest in event["artifacts"]):
        raise Broken("edited", item, "it names artifacts that are not a SHA-256")
    return event


def check_chain(bodies: Iterable[bytes], head: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Check seq, subject and links of a whole chain that ends in the hash `head`; yield envelopes with their bytes.

    An event is yielded once the one after it, or the head, is seen to hold its hash.
    """
    rest, seq, last, about = iter(bodies), 0, "", None
    checked: tuple[dict[str, Any], bytes] | None = None
    body = next(rest, None)
    while body is not None:
        seq, ahead = seq + 1, next(rest, None)
        event, digest = read_event(body, f"event #{seq}"), hashlib.sha256(body).hexdigest()
        if event["prev"] != last:
            _raise_broken_link(seq, event, digest, head, chain([ahead] if ahead is not None else [], rest))
        if event["seq"] != seq:
            raise Broken("edited", f"event #{seq}", f"its number is #{event['seq']}")
        about = about or (event["tenant"], event["subject"])
        if (event["tenant"], event["subject"]) != about:
            raise Broken("edited", f"event #{seq}", "it is about another subject")
        if checked:
            yield checked
        checked = (event, body)
        last, body = digest, ahead
    if last != head:
        raise Broken("edited", f"event #{seq}", "its hash is not the head of the chain")
    if checked:
        yield checked


def _raise_broken_link(seq: int, event: dict[str, Any], digest: str, head: str, later: Iterator[bytes]) -> None:
    """Event `seq` does not link to the one before: say which of the two is wrong. Always raises."""
    following = next(later, None)
    if event["seq"] != seq:
        comes_later = any(_peek(body, "seq") == seq for body in chain([following or b""], later))
        kind = "reordered" if event["seq"] < seq or comes_later else "missing"
        raise Broken(kind, f"event #{seq}", f"#{event['seq']} stands in its place")
    if digest == (head if following is None else _peek(following, "prev")) and seq > 1:
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
    return canonical_bytes({"seq": seq, "name": name, "salt": salt.hex(), "value": value})


class Openings:
    """The lines of openings.jsonl, read along with the events: in order, each opening a commitment, none twice."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.lines, self.n, self.last = iter(lines), 0, (0, "")
        self.next = self._read()

    def of(self, event: Mapping[str, Any]) -> dict[str, str | None]:
        """What this event committed to, by name; None where that is not opened."""
        commitments = commitments_of(event)
        values: dict[str, str | None] = dict.fromkeys(commitments)
        while self.next is not None and self.next["seq"] <= event["seq"]:
            found, item = self.next, f"opening of {self.next['name']!r} in event #{self.next['seq']}"
            here, commitment = (found["seq"], found["name"]), commitments.get(found["name"])
            if here[0] != event["seq"] or commitment is None or here <= self.last or not HEX64.fullmatch(found["salt"]):
                raise Broken("opening_mismatch", item, "no event commits to it")
            if not opens(commitment, bytes.fromhex(found["salt"]), found["value"].encode("utf-8", "replace")):
                raise Broken("opening_mismatch", item, "it is not what the event committed to")
            values[found["name"]], self.last, self.next = found["value"], here, self._read()
        return values

    def end(self) -> None:
        if self.next is not None:
            item = f"opening of {self.next['name']!r} in event #{self.next['seq']}"
            raise Broken("opening_mismatch", item, "no event commits to it")

    def _read(self) -> dict[str, Any] | None:
        line = next(self.lines, None)
        self.n += line is not None
        return None if line is None else parse_as(line, OPENING, f"openings.jsonl line {self.n}", "an opening")


# What is broken, and how the verifier reads JSON: strictly, so that what it accepts has one spelling.


HEX64 = re.compile(r"[0-9a-f]{64}")


class Broken(Exception):
    """What is broken (`item`), how (`kind`), and why we say so (`detail`)."""

    def __init__(self, kind: str, item: str, detail: str = "") -> None:
        self.kind, self.item, self.detail = kind, item, detail
        super().__init__(f"{kind}: {item}" + (f": {detail}" if detail else ""))


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


def parse_as(data: bytes, shape: Mapping[str, type], item: str, what: str) -> dict[str, Any]:
    """An object of exactly these fields, in its one encoding."""
    found = parse(data, item)
    if not has_shape(found, shape) or canonical_bytes(found) != data:
        raise Broken("edited", item, f"it is not {what}")
    return found


def has_shape(value: Any, shape: Mapping[str, type]) -> bool:
    return type(value) is dict and {name: type(item) for name, item in value.items()} == shape


def canonical_bytes(value: Any) -> bytes:
    """Canonical JSON of strings, integers, lists and maps with ASCII keys (where it equals RFC 8785)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8", "replace")


def unbase64(text: Any, item: str) -> bytes:
    """Strictly: what decodes has one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise Broken("edited", item, "it contains text that is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Broken("edited", item, "it contains base64 in a second spelling")
    return data


def safe_text(text: str) -> str:
    """Text that neither Markdown nor a terminal would act on."""
    return re.sub(r"[^A-Za-z0-9 .:/@+_-]", "?", text)


# The files that are derived: the statement, decisions.json and timeline.md.


FORMAT = "interlock.evidence/1"
STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "urn:interlock:evidence:1"
ASSURANCE = (
    "Every event contains the\nhash of the one before it, and all files are signed. "
    "Verify: `python -m audit.verify FILE --key KEY`"
)


def subject_name(subject: Mapping[str, Any]) -> str:
    return safe_text(f"{subject['kind']} {subject['id']}")


def statement_json(about: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> bytes:
    """The in-toto statement, which is signed: the subject of the pack, and every file in it."""
    subjects = [
        {"name": file["path"], "digest": {"sha256": file["sha256"]}, "annotations": {"size": file["size"]}}
        for file in files
    ]
    return canonical_bytes({"_type": STATEMENT, "subject": subjects, "predicateType": PREDICATE, "predicate": about})


class Readable:
    """decisions.json and timeline.md, event by event; `write(path, bytes)` takes their pieces."""

    def __init__(self, about: Mapping[str, Any], write: Callable[[str, bytes], object]) -> None:
        self.write, self.decided = write, 0
        seq, last = about["head"]["seq"], safe_text(about["created_at"])
        self._timeline(f"# Evidence of {subject_name(about['subject'])}\n\n{seq} events up to {last}. {ASSURANCE}\n")
        self._timeline(
            "\n| # | Time (UTC) | Event | Outcome | Actor | Facts | Artifacts |\n|---|---|---|---|---|---|---|\n"
        )

    def add(self, event: Mapping[str, Any], values: Mapping[str, str | None]) -> None:
        """`values`: what the event committed to, None where that is not opened."""
        cells = [str(event["seq"]), *(safe_text(event[name]) for name in ("at", "verb", "outcome", "actor"))]
        facts = json.dumps({**event["facts"], **dict.fromkeys(values, "(private)")}, sort_keys=True)
        facts = re.sub(r"[`|<>\x7f]", "?", facts)
        shown = facts if len(facts) <= 240 else facts[:240] + " ..."
        named = " ".join(digest[:12] for digest in event["artifacts"])
        self._timeline(f"| {' | '.join(cells)} | `{shown}` | {named} |\n")
        if event["verb"].startswith("approval."):
            opened = {k: {"private": values[k]} if k in values else v for k, v in event["facts"].items()}
            kept = {name: event[name] for name in ("seq", "at", "verb", "outcome", "actor", "correlation_id")}
            text = json.dumps([{**kept, "facts": opened}], indent=2, sort_keys=True)[1:-2]
            self.write("decisions.json", ((",", "[")[not self.decided] + text).encode())
            self.decided += 1

    def end(self) -> None:
        self.write("decisions.json", b"\n]\n" if self.decided else b"[]\n")

    def _timeline(self, text: str) -> None:
        self.write("timeline.md", text.encode())
