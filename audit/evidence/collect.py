"""Collect what a pack holds, and the part of it that the report shows."""

import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from audit.changes.document import Change, NotAChangeDocument, parse_changes
from audit.changes.render import standalone_page
from audit.evidence.contents import Member, Redaction, Spool, contributions
from audit.log.artifacts import open_artifact, read_artifact
from audit.log.events import Subject
from audit.log.subjects import names_of_event_actors
from audit.models import Artifact, Event, PrivateValue
from audit.verify.events import (
    FORMAT,
    Broken,
    Openings,
    Readable,
    canonical_bytes,
    check_chain,
    commitments_of,
    opening_line,
)
from audit.verify.packs import MAX_FILES

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32,64}")
MAX_HEAD, MAX_TAIL = 300, 100  # events of the timeline
MAX_KEPT = 300  # decisions, plans, verdicts
MAX_ACTORS = 5_000
MAX_FACTS = 160  # characters of an event's facts in the timeline
QUIET_FACTS = ("digest", "facts_sha256", "key", "parameters_sha256")


class Timeline:
    """Fed event by event; keeps a bounded part."""

    def __init__(self) -> None:
        self.head: list[dict[str, Any]] = []
        self.tail: deque[dict[str, Any]] = deque(maxlen=MAX_TAIL)
        self.events = 0
        self.actors: set[str] = set()
        self.did: dict[str, Counter[str]] = defaultdict(Counter)
        self.decisions: list[dict[str, Any]] = []
        self.plans: list[dict[str, Any]] = []
        self.verdicts: list[dict[str, Any]] = []
        self.state = ""

    def add(self, event: Mapping[str, Any], values: Mapping[str, str | None]) -> None:
        self.events += 1
        row = _timeline_row(event, values)
        if len(self.head) < MAX_HEAD:
            self.head.append(row)
        else:
            self.tail.append(row)
        if len(self.actors) < MAX_ACTORS:
            self.actors.add(event["actor"])
            self.did[event["actor"]][event["verb"]] += 1
        kept = {"approval": self.decisions, "preflight.planned": self.plans, "policy.evaluated": self.verdicts}
        for verb, rows in kept.items():
            if (event["verb"] == verb or event["verb"].startswith(f"{verb}.")) and len(rows) < MAX_KEPT:
                rows.append({**row, "facts": dict(event["facts"]), "artifacts": list(event["artifacts"])})
        if isinstance(event["facts"].get("to"), str):
            self.state = event["facts"]["to"]

    @property
    def left_out(self) -> int:
        """How many events are between the head and the tail."""
        return self.events - len(self.head) - len(self.tail)


def _timeline_row(event: Mapping[str, Any], values: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        "seq": event["seq"],
        "at": event["at"],
        "verb": event["verb"],
        "outcome": event["outcome"],
        "actor": event["actor"],
        "values": dict(values),
        "said": _describe_facts(event),
    }


def _describe_facts(event: Mapping[str, Any]) -> str:
    """The facts in one short line: states as from → to, no ids or digests (they are in the file), no private values."""
    facts = {k: v for k, v in event["facts"].items() if k not in commitments_of(event) and k not in QUIET_FACTS}
    parts = []
    if "from" in facts and "to" in facts:
        parts.append(f"{facts.pop('from')} → {facts.pop('to')}")
    parts += [f"{name} {said}" for name, value in facts.items() if (said := _shorten(value))]
    text = " · ".join(parts)
    return text if len(text) <= MAX_FACTS else text[:MAX_FACTS] + " …"


def _shorten(value: Any) -> str:
    """A value in a few words; "" for ids, nothing, and what is too large to read in a line."""
    if isinstance(value, str):
        return "" if ID.fullmatch(value) else value
    text = json.dumps(value, ensure_ascii=False, sort_keys=True) if value not in (None, [], {}) else ""
    return text if len(text) <= 60 else ""


# Gather what a pack holds: events and openings side by side, then artifacts, rendered changes, what others add.


BATCH = 500
TELL_EVERY = 1_000  # events
EXTENSIONS = {
    "application/json": "json",
    "application/x-ndjson": "jsonl",
    "application/yaml": "yaml",
    "text/markdown": "md",
    "text/plain": "txt",
    "text/x-diff": "diff",
}
KIND = re.compile(rb'"format":"interlock\.([a-z]+)/\d+"')
MAX_READ_BYTES = 16 << 20  # of a change document or a report that is shown, not only packed


@dataclass(frozen=True)
class Progress:
    """Receives the progress: `report(doing, done, total)`, often; it may raise to stop the build."""

    report: Callable[[str, int, int], object]


no_progress = Progress(lambda doing, done, total: None)


@dataclass
class PackContents:
    """`members`: in no order. `packed`, `withheld`: digests of artifacts. `closed`: names of what was not opened."""

    about: dict[str, Any]
    members: list[Member]
    timeline: Timeline
    packed: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    changes: dict[str, list[Change]] = field(default_factory=dict)
    reports: dict[str, bytes] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    facts: list[tuple[str, str]] = field(default_factory=list)


def collect(tenant: UUID, subject: Subject, last: Event, redaction: Redaction, progress: Progress) -> PackContents:
    """Everything but proofs, statement and report. Raises Broken, ArtifactMissing."""
    head = {"seq": last.seq, "hash": bytes(last.hash).hex()}
    about = {
        "format": FORMAT,
        "subject": {"kind": subject.kind, "id": str(subject.id)},
        "head": head,
        "created_at": _format_time(last),
    }
    found = PackContents(about, [], Timeline())
    named = _events(tenant, subject, last, redaction, found, progress)
    _artifacts(tenant, named, redaction, found, progress)
    _people(tenant, redaction, found)
    for contribution in contributions(tenant, subject):
        for name, content, kind in contribution.files:
            if not redaction.withholds("context", kind):
                found.members.append(Member.of(f"context/{name}", content))
        if not redaction.withholds("context", "facts"):
            found.facts.extend(contribution.facts)
    return found


def _events(
    tenant: UUID, subject: Subject, last: Event, redaction: Redaction, found: PackContents, progress: Progress
) -> dict[str, int]:
    """Write events, openings, decisions and timeline, checked as they come; return the artifacts that are named."""
    spools = {name: Spool() for name in ("events.jsonl", "openings.jsonl", "decisions.json", "timeline.md")}
    readable = Readable(found.about, lambda path, data: spools[path].write(data))
    stored = Event.objects.filter(tenant=tenant, subject_kind=subject.kind, subject_id=subject.id).order_by("seq")
    bodies = (bytes(body) for part in _batches(stored, last.seq) for body in part.values_list("body", flat=True))
    closed: set[str] = set()
    openings = Openings(_openings(tenant, subject, last.seq, redaction, spools["openings.jsonl"], closed))
    named: dict[str, int] = {}
    for event, body in check_chain(bodies, found.about["head"]["hash"]):
        values = openings.of(event)
        spools["events.jsonl"].line(body)
        readable.add(event, values)
        found.timeline.add(event, values)
        for digest in event["artifacts"]:
            named.setdefault(digest, event["seq"])
        if len(named) > MAX_FILES:
            break
        if event["seq"] % TELL_EVERY == 0:
            progress.report("reading events", event["seq"], last.seq)
    openings.end()
    readable.end()
    found.closed = sorted(closed)
    found.members.extend(spool.member(name) for name, spool in spools.items())
    return named


def _openings(
    tenant: UUID, subject: Subject, upto: int, redaction: Redaction, spool: Spool, closed: set[str]
) -> Iterator[bytes]:
    """The lines of openings.jsonl, written as they are read: what was neither erased nor is withheld, seq by seq."""
    kept = PrivateValue.objects.filter(tenant=tenant, subject_id=subject.id, salt__isnull=False).order_by("seq")
    rows = (row for part in _batches(kept, upto) for row in part.values_list("seq", "name", "salt", "value"))
    for seq, group in groupby(rows, key=lambda row: row[0]):
        for _, name, salt, value in sorted(group, key=lambda row: row[1]):
            if redaction.withholds("private", name):
                closed.add(name)
                continue
            line = opening_line(seq, name, bytes(salt or b""), bytes(value or b"").decode("utf-8", "replace"))
            spool.line(line)
            yield line


def _batches(rows: QuerySet[Any], upto: int) -> Iterator[QuerySet[Any]]:
    """The rows of 500 seqs at a time, each its own query: SQLite has no server-side cursor."""
    return (rows.filter(seq__gt=start, seq__lte=min(start + BATCH, upto)) for start in range(0, upto, BATCH))


def _artifacts(
    tenant: UUID, named: dict[str, int], redaction: Redaction, found: PackContents, progress: Progress
) -> None:
    """The artifacts by digest; hashed here, so that what is wrong shows before the first byte is sent."""
    digests = sorted(named)
    media_types: dict[str, str] = {}
    for start in range(0, len(digests), BATCH):
        part = Artifact.objects.filter(tenant=tenant, digest__in=digests[start : start + BATCH], n=0)
        media_types.update(part.values_list("digest", "media_type"))
    for n, digest in enumerate(digests, 1):
        extension = EXTENSIONS.get(media_types.get(digest, "").split(";")[0].strip(), "bin")
        member = Member.measured(f"artifacts/{digest}.{extension}", partial(open_artifact, tenant, digest))
        if member.sha256 != digest:
            raise Broken("artifact_edited", f"artifact {digest}", "its bytes have a different SHA-256")
        kind = _kind(member)
        if redaction.withholds("artifact", kind):
            found.withheld.append(digest)
            continue
        found.packed.append(digest)
        found.members.append(member)
        _render_artifact(tenant, digest, kind, member.size, found)
        progress.report("reading artifacts", n, len(digests))


def _kind(member: Member) -> str:
    """What kind of artifact this is, as its `format` says; looked for in the pieces of JSON only."""
    if not member.path.endswith(".json"):
        return "other"
    tail = b""
    for piece in member.pieces():
        if match := KIND.search(tail + piece):
            return match[1].decode()
        tail = piece[-64:]
    return "other"


def _render_artifact(tenant: UUID, digest: str, kind: str, size: int, found: PackContents) -> None:
    """Render change documents, and keep what the report shows."""
    if size > MAX_READ_BYTES or kind not in ("changes", "verification"):
        return
    data = read_artifact(tenant, digest)
    if kind == "verification":
        found.reports[digest] = data
        return
    try:
        changes = parse_changes(data)
    except NotAChangeDocument:
        return
    found.changes[digest] = changes
    found.members.append(Member.of(f"changes/{digest}.html", standalone_page(changes, digest)))


def _people(tenant: UUID, redaction: Redaction, found: PackContents) -> None:
    """context/people.json: whom the ids stand for, as known today. Not recorded in events, so only signed."""
    if redaction.withholds("people"):
        return
    names = names_of_event_actors(tenant, [SimpleNamespace(actor=actor) for actor in found.timeline.actors])  # type: ignore[misc]
    found.people = {actor: names[actor] for actor in sorted(found.timeline.actors) if names.get(actor, actor) != actor}
    found.members.append(
        Member.of("context/people.json", canonical_bytes({"format": "interlock.people/1", "names": found.people}))
    )


def _format_time(event: Event) -> str:
    return event.at.isoformat(timespec="microseconds").replace("+00:00", "Z")
