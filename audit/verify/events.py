"""Events: canonical bytes, each naming the hash of the one before, and the private values that they commit to."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from audit.verify.strict import HEX64, Broken, has_shape, parse, parse_as, plain

ENVELOPE = {
    "v": int, "tenant": str, "subject": dict, "seq": int, "verb": str, "outcome": str, "actor": str,
    "correlation_id": str, "at": str, "facts": dict, "artifacts": list, "prev": str,
}  # fmt: skip
OPENING = {"seq": int, "name": str, "salt": str, "value": str}


def read_event(body: bytes, item: str) -> dict[str, Any]:
    """The envelope in these bytes. Raises Broken("edited") when it is not one."""
    event = parse(body, item)
    if not has_shape(event, ENVELOPE) or event["v"] != 1:
        raise Broken("edited", item, "it is not an event envelope of version 1")
    if not has_shape(event["subject"], {"kind": str, "id": str}):
        raise Broken("edited", item, "it does not name its subject")
    if not all(isinstance(digest, str) and HEX64.fullmatch(digest) for digest in event["artifacts"]):
        raise Broken("edited", item, "it names artifacts that are no SHA-256")
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
            _blame(seq, event, digest, head, chain([ahead] if ahead is not None else [], rest))
        if event["seq"] != seq:
            raise Broken("edited", f"event #{seq}", f"it says that it is #{event['seq']}")
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


def _blame(seq: int, event: dict[str, Any], digest: str, head: str, later: Iterator[bytes]) -> None:
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
    return plain({"seq": seq, "name": name, "salt": salt.hex(), "value": value})


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
