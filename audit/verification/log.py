"""Verify a tenant's sealed log, a subject in it, and signed heads that were kept elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from audit.database.clock import database_time
from audit.models import Event
from audit.models.seals import Horizon, Leaf, SignedTreeHead, Tree
from audit.seals import keys
from audit.seals.tree import StoredNodes, newest_head, prove_consistency
from audit.verification import diagnose
from audit.verification.chain import BATCH, ChainReport, Contents, archived_upto, verify_chains
from audit.verification.log_verifier import LogVerifier, check_entry, check_link, forked_at, known_keys
from audit.verify import Broken
from audit.verify.merkle import inclusion_proof, root_of, verify_consistency, verify_inclusion
from audit.verify.signatures import InvalidNote, TreeHead, parse_note, parse_tree_head


@dataclass
class VerificationResult:
    """What was looked at, and the first thing broken. `size`: entries in the log when it was looked at."""

    events: int = 0
    entries: int = 0
    heads: int = 0
    artifacts: int = 0
    openings: int = 0
    size: int = 0
    logs: int = 0
    broken: Broken | None = None

    @property
    def ok(self) -> bool:
        return self.broken is None

    def __add__(self, other: "VerificationResult") -> "VerificationResult":
        counts = ("events", "entries", "heads", "artifacts", "openings", "size", "logs")
        added = {name: getattr(self, name) + getattr(other, name) for name in counts}
        return VerificationResult(**added, broken=self.broken or other.broken)


def verify_tenant_log(
    tenant: UUID,
    *,
    start: int = 0,
    upto: int | None = None,
    external_heads: list[TreeHead] | None = None,
    remember: bool = True,
) -> VerificationResult:
    """Verify the tenant's log from entry `start`, to its end and through what is not sealed yet, or to `upto`.

    `external_heads` were kept elsewhere. With `remember` the outcome shows on the auditor's pages.
    """
    verdict = VerificationResult(logs=1)
    verifier: LogVerifier | None = None
    try:
        verifier = LogVerifier(tenant, start, upto, external_heads)
        verifier.run()
        if upto is None:
            check_unsealed(tenant, verifier.contents, after_entry=start)
    except Broken as broken:
        verdict.broken = broken
    _add_counts(verdict, verifier, start)
    if remember and (upto is None or verdict.broken):
        store_result(tenant, verdict)
    return verdict


def _add_counts(verdict: VerificationResult, verifier: LogVerifier | None, start: int) -> None:
    if verifier is not None:
        verdict.events, verdict.artifacts = verifier.report.events, verifier.report.artifacts
        verdict.openings, verdict.heads, verdict.size = verifier.report.openings, verifier.heads, verifier.frontier.size
        verdict.entries = verifier.frontier.size - start


def store_result(tenant: UUID, verdict: VerificationResult) -> None:
    """Store the result for the auditor's pages and for the next incremental verification."""
    values: dict[str, Any] = {"verified_at": database_time(), "broken": str(verdict.broken or "")}
    if verdict.ok:
        values["verified_size"] = verdict.size
    Tree.objects.filter(tenant=tenant).update(**values)


def check_unsealed(tenant: UUID, contents: Contents, after_entry: int = 0) -> None:
    """Events in no log yet are checked like others; those that should long be there are found. Raises Broken."""
    state = Horizon.objects.order_by("pk").first()
    tree = Tree.objects.filter(tenant=tenant).first()
    resume_from = tree.resume_from if tree and tree.resume_from is not None else None
    horizon = min(state.horizon if state else 0, resume_from if resume_from is not None else 2**63)
    left = Event.objects.filter(~Exists(Leaf.objects.filter(event_id=OuterRef("pk"))), tenant=tenant)
    if after_entry:
        last = Leaf.objects.filter(tenant=tenant, log_index=after_entry - 1).values_list("event_id", flat=True)
        left = left.filter(pk__gt=max(last, default=0))
    lost = left.filter(pk__lte=horizon).order_by("pk").first()
    if lost is not None:
        raise diagnose.never_sealed(lost)
    archived = archived_upto(tenant)
    before = Event.objects.filter(subject_id=OuterRef("subject_id"), seq=OuterRef("seq") - 1)
    tail = left.annotate(before=Subquery(before.values("hash")[:1])).order_by("pk")
    for batch in _batches(tail):
        contents.check([(event, check_link(event, archived)) for event in batch])
        contents.report.events += len(batch)


def _batches(events: QuerySet[Event]) -> Iterator[list[Event]]:
    after = -(2**63)
    while batch := list(events.filter(pk__gt=after)[:BATCH]):
        yield batch
        after = batch[-1].pk


def verify_sealed_subject(tenant: UUID | None, subject_id: UUID) -> ChainReport:
    """One subject: its sealed events against the log, then its chain. `sealed` of its events are under a head."""
    report = ChainReport()
    owner = tenant or Event.objects.filter(subject_id=subject_id).values_list("tenant", flat=True).first()
    try:
        sealed = check_sealed_events(owner, subject_id) if owner else (0, 0)
    except Broken as broken:
        report.broken = broken
        return report
    report = verify_chains(tenant=tenant, subject_id=subject_id)
    report.sealed, report.entries = sealed
    return report


def check_sealed_events(tenant: UUID, subject_id: UUID) -> tuple[int, int]:
    """Each sealed event of a subject against its entry, and its entry's path to the newest signed head.

    Returns how many entries, and of how many that head is. Raises Broken.
    """
    head = newest_head(tenant)
    if head is None:
        return 0, 0
    try:
        signed = keys.verify_head(head.note, known_keys(tenant))
    except InvalidNote as bad:
        raise Broken("edited", f"head #{head.number}", str(bad)) from bad
    nodes, count = StoredNodes(tenant), 0
    leaves = Leaf.objects.filter(tenant=tenant, subject_id=subject_id, log_index__lt=signed.size).order_by("seq")
    after, archived = 0, archived_upto(tenant)
    while batch := list(leaves.filter(seq__gt=after)[:BATCH]):
        after = batch[-1].seq
        events = Event.objects.in_bulk([leaf.event_id for leaf in batch])
        for leaf in batch:
            try:
                wanted = nodes(0, leaf.log_index)
                proof = inclusion_proof(leaf.log_index, signed.size, nodes)
            except LookupError:
                raise diagnose.missing_entry(tenant, leaf.log_index, signed.size) from None
            check_entry(leaf, events.get(leaf.event_id), wanted, archived)
            if not verify_inclusion(wanted, leaf.log_index, signed.size, proof, signed.root):
                raise Broken("forked", f"entry {leaf.log_index} of the log", f"no path leads to head #{head.number}")
            count += 1
    return count, signed.size


def check_external_head(tenant: UUID, head: TreeHead) -> Broken | None:
    """Whether the log still continues a head that was kept elsewhere, by a consistency proof to its newest head.

    None if it does. Costs a few hundred hashes, whatever the size of the log; a full verification says more about a
    break.
    """
    last = newest_head(tenant)
    if last is None or last.size < head.size:
        size = last.size if last else 0
        detail = f"the tree head that was kept has {head.size} entries; the log has {size}"
        return Broken("truncated", f"entry {size} of the log", detail)
    try:
        signed = keys.verify_head(last.note, known_keys(tenant))
        if head.size == 0:
            return None
        proof = prove_consistency(tenant, head.size, signed.size)
        stored = root_of(signed.size, StoredNodes(tenant))
    except InvalidNote as bad:
        return Broken("edited", f"head #{last.number}", str(bad))
    except LookupError:
        return diagnose.missing_entry(tenant, 0, last.size)
    except Broken as broken:
        return broken
    if stored != signed.root:
        return Broken("edited", f"head #{last.number}", "the stored log does not have the root that was signed")
    return None if verify_consistency(head.size, signed.size, head.root, signed.root, proof) else forked_at(head.size)


def entries_between(tenant: UUID, since: datetime | None, until: datetime | None) -> tuple[int, int | None]:
    """The entries that were sealed between these times, and a little more: (first, up to), as heads bound them."""
    heads = SignedTreeHead.objects.filter(tenant=tenant)
    first = heads.filter(at__lt=since).order_by("-number").values_list("size", flat=True).first() if since else 0
    upto = heads.filter(at__gte=until).order_by("number").values_list("size", flat=True).first() if until else None
    return first or 0, upto


def sealed_tenants() -> list[UUID]:
    """Every tenant that has a log, or should have one."""
    found = set(Tree.objects.values_list("tenant", flat=True)) | set(
        SignedTreeHead.objects.order_by().values_list("tenant", flat=True).distinct()
    )
    return sorted(found)


def verified_size(tenant: UUID) -> int:
    """Where an incremental verification begins."""
    return Tree.objects.filter(tenant=tenant).values_list("verified_size", flat=True).first() or 0


# Heads that somebody kept elsewhere and brings back: signed notes, one or many in a text.


MAX_HEADS = 1_000
ORIGIN = "interlock/"


@dataclass(frozen=True)
class ExternalHead:
    """A head whose signature is that of a key of the tenant's. `where` says where it was read."""

    tenant: UUID
    head: TreeHead
    where: str


def read_external_heads(text: str, where: str = "this") -> list[ExternalHead]:
    """The heads in a text, their signatures verified with the keys that are stored here. Raises InvalidNote.

    A query per tenant. Raises MissingKey, Undecryptable, too.
    """
    found: list[ExternalHead] = []
    known: dict[UUID, list[keys.PublicKey]] = {}
    for note in split_notes(text):
        tenant = tenant_of(parse_tree_head(parse_note(note).text))
        if tenant not in known:
            known[tenant] = keys.verifiers(tenant)
        found.append(ExternalHead(tenant, keys.verify_head(note, known[tenant]), where))
        if len(found) > MAX_HEADS:
            raise InvalidNote(f"it contains more than {MAX_HEADS} tree heads")
    if not found:
        raise InvalidNote("it is empty")
    return found


def tenant_of(head: TreeHead) -> UUID:
    """Whose log it is. Raises InvalidNote for other origins."""
    try:
        if not head.origin.startswith(ORIGIN):
            raise ValueError
        return UUID(head.origin.removeprefix(ORIGIN))
    except ValueError:
        raise InvalidNote(f"it is a head of {head.origin[:80]!r}, which is not a log of Interlock") from None


def split_notes(text: str) -> Iterator[str]:
    """Notes that stand one after another: each ends with its signature lines. Line ends are forgiven."""
    lines: list[str] = []
    is_signed = False
    for line in text.replace("\r\n", "\n").strip("\n").split("\n"):
        is_signature = line.startswith("— ")
        if is_signed and not is_signature:
            yield "\n".join(lines) + "\n"
            lines = []
        if lines or line.strip():
            lines.append(line)
        is_signed = is_signature
    if lines:
        yield "\n".join(lines) + "\n"
