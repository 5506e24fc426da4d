"""One event: what it changed, its inclusion proof, its page."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from audit.auditor.log.event_list import LogFilters, event_details, event_rows
from audit.changes.document import FORMAT, Change, NotAChangeDocument, parse_changes
from audit.changes.render import render_change
from audit.log.artifacts import ArtifactMissing, open_artifact
from audit.log.query import read_envelope
from audit.models import Artifact, Event
from audit.models.seals import Leaf
from audit.seals.keys import verifiers
from audit.seals.tree import StoredNodes, newest_head
from audit.verify.merkle import inclusion_proof, leaf_hash, node_hash
from audit.verify.signatures import InvalidNote, parse_note, parse_tree_head, verify_note
from audit.web import auditors_only

MAX_BYTES = 2 * 1024 * 1024
MAX_CHANGES = 20


@dataclass(frozen=True)
class EventDiff:
    """The first changes of a document, drawn; `total` counts all. `words` say why there are none."""

    digest: str
    total: int
    changes: list[tuple[Change, SafeString]]
    words: str = ""


def diff_event(tenant: UUID, envelope: dict[str, Any]) -> EventDiff | None:
    """The change document that an event names, if it names one; else what its facts say of before and after."""
    named = envelope.get("artifacts")
    facts = envelope.get("facts")
    if isinstance(named, list) and named:
        found = Artifact.objects.filter(tenant=tenant, digest__in=named, n=0, media_type__startswith="application/json")
        for digest, size in found.values_list("digest", "size"):
            if (changed := _read_diff(tenant, digest, size)) is not None:
                return changed
    if isinstance(facts, dict) and "before" in facts and "after" in facts:
        return _diff_facts(facts)
    return None


def _read_diff(tenant: UUID, digest: str, size: int) -> EventDiff | None:
    try:
        head = next(open_artifact(tenant, digest), b"")[:4096]
        if FORMAT.encode() not in head and size <= MAX_BYTES:
            head = b"".join(open_artifact(tenant, digest))
        if FORMAT.encode() not in head:
            return None
        if size > MAX_BYTES:
            return EventDiff(digest, 0, [], "This change document is too large for a page; it is in the evidence pack.")
        changes = parse_changes(b"".join(open_artifact(tenant, digest)))
    except (NotAChangeDocument, ArtifactMissing):
        return None
    return EventDiff(digest, len(changes), [(it, render_change(it, "unified")) for it in changes[:MAX_CHANGES]])


def _diff_facts(facts: dict[str, Any]) -> EventDiff:
    """A change of settings, from the event's facts: each side as indented JSON."""
    sides = {name: _text(facts[name]) for name in ("before", "after")}
    change = Change("facts", "before → after", "json", "modify", before=sides["before"], after=sides["after"])
    return EventDiff("", 1, [(change, render_change(change, "unified"))])


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


# An event's way to a signed head, step by step: its bytes, its leaf, each node up to the root, the head's signature.


@dataclass(frozen=True)
class ProofStep:
    """Two nodes side by side and the one above them. `side` says where the proof's hash stands: left or right."""

    level: int
    side: str
    sibling: str
    result: str


@dataclass
class EventProof:
    """`is_stored_hash`: the bytes have the hash that was stored with them. `fits`: the path ends at the head's root.

    Both None where it was not sealed yet. `words` say what is wrong, or what is to wait for.
    """

    event_hash: str
    is_stored_hash: bool
    leaf: str
    log_index: int | None = None
    size: int | None = None
    root: str = ""
    steps: list[ProofStep] = field(default_factory=list)
    fits: bool | None = None
    signed_by: list[str] = field(default_factory=list)
    signed_head: str = ""
    words: str = ""


def prove_event(tenant: UUID, event: Event) -> EventProof:
    """Prove that the newest signed tree head commits to an event. Reads the proof and the tenant's public keys."""
    body = bytes(event.body)
    digest, leaf = hashlib.sha256(body).digest(), leaf_hash(body)
    found = EventProof(digest.hex(), digest == bytes(event.hash), leaf.hex())
    proven = read_inclusion_proof(tenant, event)
    if proven is None:
        found.words = "Not in the signed log yet: signing takes a few seconds. The hash chain already contains it."
        return found
    found.log_index, found.size, found.root = proven["log_index"], proven["size"], proven["root"].hex()
    found.signed_head, found.signed_by = proven["signed_head"], proven["signed_by"]
    found.steps, top = follow_path(leaf, proven["log_index"], proven["size"], proven["proof"])
    found.fits = top == proven["root"] and bool(found.signed_by)
    if top != proven["root"]:
        found.words = "Proof failed: this is not the event that was signed."
    elif not found.signed_by:
        found.words = "No key of the tenant signed this tree head."
    return found


def follow_path(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> tuple[list[ProofStep], bytes]:
    """From a leaf to the top, as RFC 9162 2.1.3.2 does it: the steps, and the hash they end in (b"" if too many)."""
    at, last, found = index, size - 1, leaf
    steps: list[ProofStep] = []
    for level, sibling in enumerate(proof, 1):
        if last == 0:
            return steps, b""
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            side = "left"
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found, side = node_hash(found, sibling), "right"
        at, last = at >> 1, last >> 1
        steps.append(ProofStep(level, side, sibling.hex(), found.hex()))
    return steps, found if last == 0 else b""


def read_inclusion_proof(tenant: UUID, event: Event) -> dict[str, Any] | None:
    """The event's inclusion proof to the newest head: {log_index, size, root, proof, signed_head, signed_by}, or None.

    The head is read from its note, and counts only with a signature by one of the tenant's keys.
    """
    head, leaf = newest_head(tenant), Leaf.objects.filter(tenant=tenant, event_id=event.pk).first()
    if head is None or leaf is None or leaf.log_index >= head.size:
        return None
    try:
        text, by = verify_note(head.note, verifiers(tenant))
        said, names = parse_tree_head(text), [f"{v.name} ({v.key_id.hex()})" for v in by]
    except InvalidNote:
        said, names = parse_tree_head(parse_note(head.note).text), []
    try:
        path = inclusion_proof(leaf.log_index, said.size, StoredNodes(tenant))
    except LookupError:
        path = []
    return {
        "log_index": leaf.log_index,
        "size": said.size,
        "root": said.root,
        "proof": path,
        "signed_head": head.note,
        "signed_by": names,
    }


@require_safe
@auditors_only
def event_page(request: HttpRequest, tenant: UUID, event_id: int) -> HttpResponse:
    """One event: its facts, its change, and its inclusion proof."""
    found = Event.objects.filter(tenant=tenant, pk=event_id).first() if event_id < 2**63 else None
    if found is None:
        raise Http404
    filters = LogFilters(subject=str(found.subject_id), open=found.pk)
    row = event_rows(tenant, [found], filters)[0]
    context = {
        "here": "audit",
        "on": "log",
        "row": row,
        "opened": event_details(tenant, row),
        "proof": prove_event(tenant, found),
        "changed": diff_event(tenant, read_envelope(found)),
    }
    return render(request, "audit/event.html", context)
