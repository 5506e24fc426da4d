"""Build evidence packs: everything recorded about one subject, as of its latest event, in one verifiable file.

The format is what `audit.verify` accepts (docs/evidence_pack.md). The same events, sealed by the same head, make the
same bytes. Memory does not grow with the number of events: what is long is spooled.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.errors import NotFound, Problem, TooLarge
from audit.evidence.collect import PackContents, Progress, collect, no_progress
from audit.evidence.contents import NOTHING_WITHHELD, HeadProof, Member, Redaction, Signer, prove_events, sign_statement
from audit.evidence.report import report_pdf
from audit.log.events import Subject
from audit.models import Event
from audit.seals.keys import signing_key
from audit.verify.container import MAX_PACK_BYTES, directory_entry, end_record, local_header
from audit.verify.events import FORMAT, Broken, safe_text, subject_name
from audit.verify.packs import ATTESTATION, CHAIN_FILES, EXTRA, MAX_FILES

ATTACHED_BYTES = 16 << 20
"""A pack up to this size is attached to its report whole; a larger one without its artifacts; else not at all."""


class EvidenceBroken(Problem):
    """The stored records differ from the recorded ones, so no evidence pack can be built. Run `verify_audit`."""

    status, code = 500, "evidence_broken"


@dataclass(frozen=True)
class Pack:
    """A pack that is ready to be written; iterate over its bytes. `size` is exact."""

    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        heads = sum(
            len(local_header(m.path, 0, 0)) + len(directory_entry(m.path, 0, 0, 0)) + m.size for m in self.members
        )
        return heads + len(end_record(0, 0, 0))

    def __iter__(self) -> Iterator[bytes]:
        offset, directory = 0, []
        for member in self.members:
            header = local_header(member.path, member.crc, member.size)
            directory.append(directory_entry(member.path, member.crc, member.size, offset))
            offset += len(header) + member.size
            yield header
            yield from member.pieces()
        entries = b"".join(directory)
        yield entries + end_record(len(self.members), len(entries), offset)

    def file(self, path: str) -> Member:
        """The file of this name. Raises KeyError."""
        return {member.path: member for member in self.members}[path]


@dataclass(frozen=True)
class PackRequest:
    """Options of a pack. `head_size`: lead the proofs to the signed head of that size, which somebody kept.

    `report`: with the PDF inside. `extra_files` (flat ASCII names) go below `extra/`.
    """

    redaction: Redaction = NOTHING_WITHHELD
    head_size: int | None = None
    report: bool = True
    extra_files: Mapping[str, bytes] | None = None


def build_pack(
    tenant: UUID, subject: Subject, pack_request: PackRequest = PackRequest(), progress: Progress = no_progress
) -> Iterator[bytes]:
    """The bytes of the pack, checked before the first of them is yielded. See `plan_pack`."""
    return iter(plan_pack(tenant, subject, pack_request, progress))


def plan_pack(
    tenant: UUID, subject: Subject, pack_request: PackRequest = PackRequest(), progress: Progress = no_progress
) -> Pack:
    """Read and check everything once: events, openings that were not erased, artifacts named by events; and sign.

    Artifacts are read in chunks and not kept. Raises NotFound when nothing was recorded or no such head was signed,
    EvidenceBroken when the stored evidence is not intact, TooLarge.
    """
    last = (
        Event.objects.filter(tenant=tenant, subject_kind=subject.kind, subject_id=subject.id).order_by("-seq").first()
    )
    if last is None:
        raise NotFound
    try:
        seal = prove_events(tenant, subject.id, last.seq, pack_request.head_size)
        found = collect(tenant, subject, last, pack_request.redaction, progress)
        return _assemble(tenant, found, seal, pack_request, progress)
    except (Broken, LookupError) as error:
        raise EvidenceBroken(f"{EvidenceBroken.__doc__} First break: {error}") from error


def _assemble(
    tenant: UUID, found: PackContents, seal: HeadProof, pack_request: PackRequest, progress: Progress
) -> Pack:
    key = signing_key(tenant)
    signers: list[Signer] = [(key.key_id, key.sign)]
    members = [*found.members, *seal.members, *_extra_members(pack_request.extra_files or {})]
    about = {
        "format": FORMAT,
        "tenant": str(tenant),
        "subject": found.about["subject"],
        "head": found.about["head"],
        "created_at": found.about["created_at"],
        "audience": pack_request.redaction.audience,
        "sealed": seal.upto,
    }
    members.append(Member.of("README.md", build_readme(about, found, key.vkey, pack_request.report)))
    if pack_request.report:
        progress.report("typesetting the report", 0, 0)
        members.append(_report_member(tenant, about, members, found, seal, signers))
    return _sign(about, members, found, signers)


def _report_member(
    tenant: UUID,
    about: dict[str, Any],
    members: list[Member],
    found: PackContents,
    seal: HeadProof,
    signers: list[Signer],
) -> Member:
    """The PDF, with the pack as it is without it attached."""
    inner = _sign(about, members, found, signers)
    if inner.size > ATTACHED_BYTES:
        inner = _sign(about, [m for m in members if not m.path.startswith("artifacts/")], found, signers, without=True)
    attached = b"".join(inner) if inner.size <= ATTACHED_BYTES else None
    return Member.of("report.pdf", report_pdf(tenant, found, seal, about, signers[0][0], attached))


def _sign(
    about: dict[str, Any], members: Iterable[Member], found: PackContents, signers: list[Signer], without: bool = False
) -> Pack:
    """Put the files in their order, list them, sign the list."""
    withheld = {"artifacts": sorted({*found.withheld, *(found.packed if without else ())}), "private": found.closed}
    ordered = sorted(
        members, key=lambda m: (CHAIN_FILES.index(m.path) if m.path in CHAIN_FILES else len(CHAIN_FILES), m.path)
    )
    files = [member.listed() for member in ordered]
    first = sign_statement({**about, "withheld": withheld}, files, signers)
    pack = Pack((Member.of(ATTESTATION, first), *ordered))
    if pack.size > MAX_PACK_BYTES or len(files) > MAX_FILES:
        raise TooLarge("The evidence does not fit into one pack (4 GiB, 60,000 files).")
    return pack


def _extra_members(extra_files: Mapping[str, bytes]) -> Iterator[Member]:
    for name, content in extra_files.items():
        path = f"extra/{name}"
        if not EXTRA.fullmatch(path):
            raise ValueError(f"{name!r} is not a flat ASCII file name")
        yield Member.of(path, content)


# README.md of a pack, for an auditor who has never seen one: ASCII, and the same bytes every time.


README = """# Evidence of {name}

Events #1 to #{seq}, as of {at}. Made for: {audience}.{redacted}

## Contents

| File | Contains | Protected by |
|---|---|---|
| attestation.json | signed list of all other files (in-toto Statement v1 in a DSSE envelope) | its signature |
| events.jsonl | the events, one per line; each contains the hash of the one before | chain, signature, proofs |
| openings.jsonl | texts that events only commit to, with the salts that open the commitments | events |
| proofs.jsonl, head.txt | proofs from events to a signed head of the whole log (RFC 9162) | the head's signature |
| keys.json | public keys of this log, and when each is valid | compare with the key that you trust |
| decisions.json, timeline.md | who decided what; what happened | derived from events and openings |
| artifacts/ | plans, change documents, logs, reports, named by their SHA-256 | events, which name them |
| changes/ | each change document as a page, as its approvers saw it | signature |
| context/ | names of people, and other records from the time of export | signature |
{report}
## Verify it

    python -m audit.verify FILE --key KEY

The verifier needs Python 3.11, the package `cryptography`, and nothing of Interlock except its folder `audit/verify`.
Get the verifier and the key from a source other than this file. This pack states that it is signed with

    {vkey}

Without `--key`, the verifier only shows that nothing was changed since somebody signed it. With `--head FILE`, it also
compares the head with tree heads that you kept. Other tools can read the pack: `attestation.json` is an ordinary DSSE
envelope (securesystemslib, in-toto, cosign), `head.txt` an ordinary signed note.

To find the plan of a decision: events `approval.*` contain the plan's digest. The event `preflight.planned` with the
same digest names the plan's artifacts. One of them is the change document that changes/ shows.
"""
README_REPORT_ROW = "| report.pdf | the report, with this evidence attached inside (PDF/A-3a) | signature |\n"


def build_readme(about: Mapping[str, Any], found: PackContents, vkey: str, has_report: bool) -> bytes:
    withheld = ""
    if found.closed:
        withheld += f" These private values are withheld: {', '.join(map(safe_text, found.closed))}."
    if found.withheld:
        withheld += f" {len(found.withheld)} artifacts are withheld. The statement lists their SHA-256."
    return README.format(
        name=subject_name(about["subject"]),
        seq=about["head"]["seq"],
        at=safe_text(about["created_at"]),
        audience=about["audience"],
        redacted=withheld,
        report=README_REPORT_ROW if has_report else "",
        vkey=vkey,
    ).encode("ascii", "replace")
