"""What an event changed: the change document it names, drawn before → after; masks were made before it was stored."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from audit.artifacts import ArtifactMissing, open_artifact
from audit.changes.document import FORMAT, Change, NotAChangeDocument, load
from audit.changes.render import render
from audit.models import Artifact

MOST_BYTES = 2 * 1024 * 1024
MOST_CHANGES = 20


@dataclass(frozen=True)
class Changed:
    """The first changes of a document, drawn; `total` counts all. `words` say why there are none."""

    digest: str
    total: int
    changes: list[tuple[Change, SafeString]]
    words: str = ""


def changed_by(tenant: UUID, envelope: dict[str, Any]) -> Changed | None:
    """The change document that an event names, if it names one; else what its facts say of before and after."""
    named = envelope.get("artifacts")
    facts = envelope.get("facts")
    if isinstance(named, list) and named:
        found = Artifact.objects.filter(tenant=tenant, digest__in=named, n=0, media_type__startswith="application/json")
        for digest, size in found.values_list("digest", "size"):
            if (changed := _read(tenant, digest, size)) is not None:
                return changed
    if isinstance(facts, dict) and "before" in facts and "after" in facts:
        return _of_facts(facts)
    return None


def _read(tenant: UUID, digest: str, size: int) -> Changed | None:
    try:
        head = next(open_artifact(tenant, digest), b"")[:4096]
        if FORMAT.encode() not in head and size <= MOST_BYTES:
            head = b"".join(open_artifact(tenant, digest))
        if FORMAT.encode() not in head:
            return None
        if size > MOST_BYTES:
            return Changed(digest, 0, [], "This change document is too large for a page; it is in the evidence pack.")
        changes = load(b"".join(open_artifact(tenant, digest)))
    except (NotAChangeDocument, ArtifactMissing):
        return None
    return Changed(digest, len(changes), [(it, render(it, "unified")) for it in changes[:MOST_CHANGES]])


def _of_facts(facts: dict[str, Any]) -> Changed:
    """A rule's change, as its event tells it: each side as indented JSON."""
    sides = {name: _text(facts[name]) for name in ("before", "after")}
    change = Change("facts", "before → after", "json", "modify", before=sides["before"], after=sides["after"])
    return Changed("", 1, [(change, render(change, "unified"))])


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
