"""README.md of a pack: what is in it, for an auditor who has never seen one. ASCII, and the same bytes every time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.verify.readable import name_of
from audit.verify.strict import word

if TYPE_CHECKING:
    from audit.evidence.collect import Collected

TEXT = """# Evidence of {name}

Events #1 to #{seq}, as of {at}. Made for: {audience}.{redacted}

## What is in this file

| File | Holds | Trust in it rests on |
|---|---|---|
| attestation.json | signed list of all other files (in-toto Statement v1 in a DSSE envelope) | its signature |
| events.jsonl | what was recorded, an event a line; each holds the hash of the one before | chain, signature, proofs |
| openings.jsonl | texts that events only commit to, with the salts that open the commitments | events |
| proofs.jsonl, head.txt | the way from events to a signed head of the whole log (RFC 9162) | the head's signature |
| keys.json | public keys of this log, with the times in which they count | compare with what you know |
| decisions.json, timeline.md | who decided what; what happened | follow from events and openings |
| artifacts/ | plans, change documents, logs, reports, named by their SHA-256 | named by events |
| changes/ | each change document as a page, as those who approved it saw it | signature |
| context/ | names of people, and what else was known when this was made | signature |
{report}
## How to check it

    python -m audit.verify FILE --key KEY

The verifier needs Python 3.11 and the package `cryptography`, and nothing of Interlock but its folder `audit/verify`.
Get it, and the key, from somewhere else than this file. This pack says that it is signed with

    {vkey}

Without `--key` the verifier only says that nothing was changed since somebody signed it. With `--head FILE` it compares
the head with those that you kept. Other tools read it too: `attestation.json` is an ordinary DSSE envelope
(securesystemslib, in-toto, cosign), `head.txt` an ordinary signed note.

Which decision was about which plan: events `approval.*` carry the plan's digest; the event `preflight.planned` with the
same digest names the plan's artifacts, among them the change document that changes/ shows.
"""
REPORT = "| report.pdf | the same on paper, with this evidence attached inside (PDF/A-3a) | signature |\n"


def readme(about: Mapping[str, Any], found: "Collected", vkey: str, has_report: bool) -> bytes:
    said = []
    if found.closed:
        said.append(f"these private values are withheld: {', '.join(map(word, found.closed))}")
    if found.withheld:
        said.append(f"{len(found.withheld)} artifacts are withheld; the statement lists their SHA-256")
    return TEXT.format(
        name=name_of(about["subject"]), seq=about["head"]["seq"], at=word(about["created_at"]),
        audience=about["audience"], redacted=f" In it {'; '.join(said)}." if said else "",
        report=REPORT if has_report else "", vkey=vkey,
    ).encode("ascii", "replace")  # fmt: skip
