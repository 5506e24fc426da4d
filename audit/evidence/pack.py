"""Build evidence packs: everything recorded about one subject, as of its latest event, in one verifiable file.

The format is what `audit.verify` accepts (docs/evidence_pack.md). The same events, sealed by the same head, make the
same bytes. Memory does not grow with the number of events: what is long is spooled.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.errors import NotFound, Problem, TooLarge
from audit.events import Subject
from audit.evidence.attestation import Signer, attestation
from audit.evidence.collect import Collected, Progress, collect, quiet
from audit.evidence.proofs import Seal, seal_of
from audit.evidence.readme import readme
from audit.evidence.redaction import WHOLE, Redaction
from audit.evidence.report import report_pdf
from audit.evidence.spool import Member
from audit.models import Event
from audit.seals.keys import signing_key
from audit.verify.container import MAX_PACK_BYTES, directory_entry, end_record, local_header
from audit.verify.packs import CHAIN_FILES, EXTRA, MAX_FILES
from audit.verify.readable import FORMATS
from audit.verify.strict import Broken

FIRST = "attestation.json"
ATTACHED_BYTES = 16 << 20
"""A pack up to this size is attached to its report whole; a larger one without its artifacts; else not at all."""


class EvidenceBroken(Problem):
    """What is stored about this is no longer what was recorded, so no evidence can be given. Run `verify_audit`."""

    status, code = 500, "evidence_broken"


@dataclass(frozen=True)
class Pack:
    """A pack that is ready to be written; iterate over its bytes. `size` is exact."""

    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        heads = sum(len(local_header(m.path, 0, 0)) + len(directory_entry(m.path, 0, 0, 0)) + m.size
                    for m in self.members)  # fmt: skip
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
class Wish:
    """What pack is wanted. `head_size`: lead the proofs to the signed head of that size, which somebody kept.

    `report`: with the PDF inside. `extra_files` (flat ASCII names) go below `extra/`.
    """

    redaction: Redaction = WHOLE
    head_size: int | None = None
    report: bool = True
    extra_files: Mapping[str, bytes] | None = None


def build_pack(tenant: UUID, subject: Subject, wish: Wish = Wish(), progress: Progress = quiet) -> Iterator[bytes]:
    """The bytes of the pack, checked before the first of them is yielded. See `plan_pack`."""
    return iter(plan_pack(tenant, subject, wish, progress))


def plan_pack(tenant: UUID, subject: Subject, wish: Wish = Wish(), progress: Progress = quiet) -> Pack:
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
        seal = seal_of(tenant, subject.id, last.seq, wish.head_size)
        found = collect(tenant, subject, last, wish.redaction, progress)
        return _assembled(tenant, found, seal, wish, progress)
    except (Broken, LookupError) as error:
        raise EvidenceBroken(f"{EvidenceBroken.__doc__} The first thing wrong: {error}") from error


def _assembled(tenant: UUID, found: Collected, seal: Seal, wish: Wish, progress: Progress) -> Pack:
    key = signing_key(tenant)
    signers: list[Signer] = [(key.key_id, key.sign)]
    members = [*found.members, *seal.members, *_extras(wish.extra_files or {})]
    about = {
        "format": FORMATS[FIRST], "tenant": str(tenant), "subject": found.about["subject"], "head": found.about["head"],
        "created_at": found.about["created_at"], "audience": wish.redaction.audience, "sealed": seal.upto,
    }  # fmt: skip
    members.append(Member.of("README.md", readme(about, found, key.vkey, wish.report)))
    if wish.report:
        progress.tell("setting the report", 0, 0)
        members.append(_report(tenant, about, members, found, seal, signers))
    return _signed(about, members, found, signers)


def _report(
    tenant: UUID, about: dict[str, Any], members: list[Member], found: Collected, seal: Seal, signers: list[Signer]
) -> Member:
    """The PDF, with the pack as it is without it attached."""
    inner = _signed(about, members, found, signers)
    if inner.size > ATTACHED_BYTES:
        inner = _signed(
            about, [m for m in members if not m.path.startswith("artifacts/")], found, signers, without=True
        )
    attached = b"".join(inner) if inner.size <= ATTACHED_BYTES else None
    return Member.of("report.pdf", report_pdf(tenant, found, seal, about, signers[0][0], attached))


def _signed(
    about: dict[str, Any], members: Iterable[Member], found: Collected, signers: list[Signer], without: bool = False
) -> Pack:
    """Put the files in their order, list them, sign the list."""
    withheld = {"artifacts": sorted({*found.withheld, *(found.packed if without else ())}), "private": found.closed}
    fixed = CHAIN_FILES[2]
    ordered = sorted(members, key=lambda m: (fixed.index(m.path) if m.path in fixed else len(fixed), m.path))
    files = [member.listed() for member in ordered]
    first = attestation({**about, "withheld": withheld}, files, signers)
    pack = Pack((Member.of(FIRST, first), *ordered))
    if pack.size > MAX_PACK_BYTES or len(files) > MAX_FILES:
        raise TooLarge("The evidence does not fit into one pack (4 GiB, 60,000 files).")
    return pack


def _extras(extra_files: Mapping[str, bytes]) -> Iterator[Member]:
    for name, content in extra_files.items():
        path = f"extra/{name}"
        if not EXTRA.fullmatch(path):
            raise ValueError(f"{name!r} is not a flat ASCII file name")
        yield Member.of(path, content)
