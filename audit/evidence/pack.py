"""Build evidence packs: everything recorded about one subject, as of its latest event, in one verifiable file.

The format is defined by what `audit.verify` accepts. Packs of the same events are the same bytes.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit import verify
from audit.artifacts import ArtifactMissing, open_artifact
from audit.errors import NotFound, Problem, TooLarge
from audit.events import Subject
from audit.models import Artifact, Event, PrivateValue

EXTENSIONS = {
    "application/json": "json", "application/x-ndjson": "jsonl", "application/yaml": "yaml", "text/markdown": "md",
    "text/plain": "txt", "text/x-diff": "diff",
}  # fmt: skip


class EvidenceBroken(Problem):
    """What is stored about this is no longer what was recorded, so no evidence can be given. Run `verify_audit`."""

    status, code = 500, "evidence_broken"


@dataclass(frozen=True)
class Member:
    """A file of the pack: its bytes, or None for an artifact, which is streamed."""

    path: str
    size: int
    crc: int
    sha256: str
    content: bytes | None

    @classmethod
    def of(cls, path: str, content: bytes) -> "Member":
        return cls(path, len(content), zlib.crc32(content), hashlib.sha256(content).hexdigest(), content)


@dataclass(frozen=True)
class Pack:
    """A pack that is ready to be written; iterate over its bytes. `size` is exact."""

    tenant: UUID
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        heads = sum(len(verify.local_header(m.path, 0, 0)) + len(verify.directory_entry(m.path, 0, 0, 0)) + m.size
                    for m in self.members)  # fmt: skip
        return heads + len(verify.end_record(0, 0, 0))

    def __iter__(self) -> Iterator[bytes]:
        offset, directory = 0, b""
        for member in self.members:
            header = verify.local_header(member.path, member.crc, member.size)
            directory += verify.directory_entry(member.path, member.crc, member.size, offset)
            offset += len(header) + member.size
            if member.content is not None:
                yield header + member.content
            else:
                yield header
                yield from open_artifact(self.tenant, member.sha256)
        yield directory + verify.end_record(len(self.members), len(directory), offset)


def build_pack(tenant: UUID, subject: Subject, extra_files: Mapping[str, bytes] | None = None) -> Iterator[bytes]:
    """The bytes of the pack, checked before the first of them is yielded. See `plan_pack`."""
    return iter(plan_pack(tenant, subject, extra_files))


def plan_pack(tenant: UUID, subject: Subject, extra_files: Mapping[str, bytes] | None = None) -> Pack:
    """Read and check everything once: events, openings that were not erased, artifacts named by events.

    `extra_files` (flat ASCII names) go below `extra/`, where the manifest covers them. Artifacts are read in chunks and
    not kept. Raises NotFound when nothing was recorded, EvidenceBroken when the stored evidence is not intact.
    """
    try:
        return _plan(tenant, subject, extra_files or {})
    except (verify.Broken, ArtifactMissing) as error:
        raise EvidenceBroken(f"{EvidenceBroken.__doc__} The first thing wrong: {error}") from error


def _plan(tenant: UUID, subject: Subject, extra_files: Mapping[str, bytes]) -> Pack:
    stored = Event.objects.filter(tenant=tenant, subject_kind=subject.kind, subject_id=subject.id).order_by("seq")
    rows = list(stored.values_list("body", "hash"))
    if not rows:
        raise NotFound
    bodies, head = [bytes(body) for body, _ in rows], bytes(rows[-1][1]).hex()
    events = verify.check_chain(bodies, head)
    openings = _openings(tenant, subject, len(events))
    values = verify.check_openings(openings, events)
    members = [
        Member.of("events.jsonl", _joined(bodies)),
        Member.of("openings.jsonl", _joined(openings)),
        Member.of("decisions.json", verify.decisions_json(events, values)),
        Member.of("timeline.md", verify.timeline_md(events)),
        *_artifacts(tenant, events),
        *_extras(extra_files),
    ]
    files = [{"path": member.path, "sha256": member.sha256, "size": member.size} for member in members]
    pack = Pack(tenant, (Member.of("manifest.json", verify.manifest_json(events, head, files)), *members))
    if pack.size >= verify.MAX_PACK_BYTES or len(files) > verify.MAX_FILES:
        raise TooLarge("The evidence does not fit into one pack (4 GiB, 60,000 files).")
    return pack


def _openings(tenant: UUID, subject: Subject, up_to: int) -> list[bytes]:
    kept = PrivateValue.objects.filter(tenant=tenant, subject_id=subject.id, seq__lte=up_to, salt__isnull=False)
    rows = sorted(kept.values_list("seq", "name", "salt", "value"), key=lambda row: row[:2])
    return [
        verify.opening_line(seq, name, bytes(salt or b""), bytes(value or b"").decode("utf-8", "replace"))
        for seq, name, salt, value in rows
    ]


def _artifacts(tenant: UUID, events: list[dict[str, Any]]) -> Iterator[Member]:
    """The artifacts that the events name, by digest; hashed here, so that what is wrong shows before the first byte."""
    named = sorted({digest for event in events for digest in event["artifacts"]})
    found = Artifact.objects.filter(tenant=tenant, digest__in=named, n=0).values_list("digest", "media_type")
    media_types = dict(found)
    for digest in named:
        size, crc, sha256 = 0, 0, hashlib.sha256()
        for chunk in open_artifact(tenant, digest):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
            sha256.update(chunk)
        if sha256.hexdigest() != digest:
            raise verify.Broken("artifact_edited", f"artifact {digest}", "its bytes have another SHA-256")
        extension = EXTENSIONS.get(media_types[digest].split(";")[0].strip(), "bin")
        yield Member(f"artifacts/{digest}.{extension}", size, crc, digest, None)


def _extras(extra_files: Mapping[str, bytes]) -> Iterator[Member]:
    for name in sorted(extra_files):
        path = f"extra/{name}"
        if not verify.EXTRA.fullmatch(path):
            raise ValueError(f"{name!r} is not a flat ASCII file name")
        yield Member.of(path, extra_files[name])


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
