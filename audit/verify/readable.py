"""The files that follow from the rest: manifest (version 1), statement (version 2), decisions and timeline."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audit.verify.strict import plain, word

FORMATS = {"manifest.json": "interlock.evidence/1", "attestation.json": "interlock.evidence/2"}
STATUS = "intact, not authenticated"
STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "urn:interlock:evidence:2"
ASSURANCE = {
    1: "Intact, not authenticated:\nevery event holds the hash of the one before it, but nothing is signed. "
    "Check: `python -m audit.verify FILE`",
    2: "Every event holds the\nhash of the one before it, and all files are signed. "
    "Check: `python -m audit.verify FILE --key KEY`",
}


def name_of(subject: Mapping[str, Any]) -> str:
    return word(f"{subject['kind']} {subject['id']}")


def manifest_json(last: Mapping[str, Any], head: str, files: Sequence[Mapping[str, Any]]) -> bytes:
    """The manifest of version 1, from the last event: it follows from the events and the other files alone."""
    return plain({
        "format": FORMATS["manifest.json"], "status": STATUS, "tenant": last["tenant"], "subject": last["subject"],
        "head": {"seq": last["seq"], "hash": head}, "created_at": last["at"], "files": files,
    })  # fmt: skip


def statement_json(about: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> bytes:
    """The in-toto statement of version 2, which is what is signed: what the pack is about, and every file in it."""
    subjects = [
        {"name": file["path"], "digest": {"sha256": file["sha256"]}, "annotations": {"size": file["size"]}}
        for file in files
    ]
    return plain({"_type": STATEMENT, "subject": subjects, "predicateType": PREDICATE, "predicate": about})


class Readable:
    """decisions.json and timeline.md, event by event; `write(path, bytes)` takes their pieces."""

    def __init__(self, about: Mapping[str, Any], write: Callable[[str, bytes], object]) -> None:
        self.write, self.decided = write, 0
        version = int(about["format"][-1])
        seq, last = about["head"]["seq"], word(about["created_at"])
        self._timeline(
            f"# Evidence of {name_of(about['subject'])}\n\n{seq} events up to {last}. {ASSURANCE[version]}\n"
        )
        self._timeline(
            "\n| # | Time (UTC) | Event | Outcome | Actor | Facts | Artifacts |\n|---|---|---|---|---|---|---|\n"
        )

    def add(self, event: Mapping[str, Any], values: Mapping[str, str | None]) -> None:
        """`values`: what the event committed to, None where that is not opened."""
        cells = [str(event["seq"]), *(word(event[name]) for name in ("at", "verb", "outcome", "actor"))]
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
