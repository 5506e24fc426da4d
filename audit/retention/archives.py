"""Archive the sealed log to files that verify on their own, set how long events stay, prune what is archived."""

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Min, OuterRef, QuerySet

from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound, Unavailable
from audit.log.artifacts import ArtifactMissing, open_artifact
from audit.log.events import NewEvent, Subject, record
from audit.models import Event, PrivateValue
from audit.models.auditor import IndexedEvent, Stream
from audit.models.seals import Archive, Leaf, Retention, SignedTreeHead
from audit.retention.erasure import held_subjects
from audit.seals.keys import verifiers
from audit.seals.tree import StoredNodes
from audit.verify import Broken
from audit.verify.archive import FORMAT, verify_archive
from audit.verify.merkle import Frontier
from audit.verify.signatures import verify_note

ACTOR = "system:retention"
BATCH = 1_000
PIECE_BYTES = 256 * 1024
EndedCheck = Callable[[list[UUID]], set[UUID]]
"""Given ids of subjects of one kind: those that have ended, and will have no further event."""
_ended_checks: dict[str, EndedCheck] = {}


def register_ended_check(kind: str, ended: EndedCheck) -> None:
    """Let subjects of a kind be pruned once `ended` says so; kinds that nobody registered are kept forever."""
    _ended_checks[kind] = ended


def archive_directory(tenant: UUID) -> Path:
    return Path(settings.INTERLOCK.var) / "archive" / str(tenant)


def write_archive(tenant: UUID, keep_days: int) -> Archive | None:
    """
    Write what was sealed more than `keep_days` ago, and is in no archive yet, to a file; None if there is nothing.

    The file is complete, synced, read back and verified before its row is stored. Event `log.archived`.
    """
    done = Archive.objects.filter(tenant=tenant).order_by("-upto").first()
    first = done.upto if done else 0
    before = database_time() - timedelta(days=keep_days)
    head = (
        SignedTreeHead.objects.filter(tenant=tenant, at__lt=before, size__gt=first).order_by("-size", "number").first()
    )
    if head is None:
        return None
    path = archive_directory(tenant) / f"{first:012d}-{head.size:012d}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    digest, size = _write_file(path, tenant, first, head)
    _verify_file(path, tenant)
    facts = {"first": first, "upto": head.size, "sha256": digest, "bytes": size}
    with transaction.atomic():
        made = Archive.objects.create(
            tenant=tenant, first=first, upto=head.size, file=path.name, sha256=digest, size=size, prunable=True
        )
        record(NewEvent(tenant, subject_of(made), "log.archived", ACTOR, facts=facts))
    return made


def _write_file(path: Path, tenant: UUID, first: int, head: SignedTreeHead) -> tuple[str, int]:
    """Write the file whole or not at all; return its SHA-256 and size."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        with draft.open("wb") as raw:
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
                for line in _archive_lines(tenant, first, head):
                    out.write(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n")
            raw.flush()
            os.fsync(raw.fileno())
        with draft.open("rb") as made:
            digest = hashlib.file_digest(made, "sha256").hexdigest()
        size = draft.stat().st_size
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return digest, size


def _archive_lines(tenant: UUID, first: int, head: SignedTreeHead) -> Iterator[dict[str, Any]]:
    """The lines of a file, in memory only a batch at a time. Raises Conflict when an event is missing already."""
    _, by = verify_note(head.note, verifiers(tenant))
    frontier = Frontier.at(first, StoredNodes(tenant)) if first else Frontier()
    yield {
        "format": FORMAT,
        "tenant": str(tenant),
        "first": first,
        "upto": head.size,
        "frontier": frontier.packed().hex(),
        "head": head.note,
        "key": by[0].vkey,
    }
    named: dict[str, None] = {}
    for leaf, event in _events(tenant, first, head.size):
        body = bytes(event.body)
        named.update(dict.fromkeys(json.loads(body)["artifacts"]))
        yield {"index": leaf.log_index, "event": base64.b64encode(body).decode()}
    artifacts = 0
    for digest in named:
        try:
            data = b"".join(open_artifact(tenant, digest))
        except ArtifactMissing:
            continue
        artifacts += 1
        yield {"artifact": digest, "data": base64.b64encode(data).decode()}
    yield {"end": {"events": head.size - first, "artifacts": artifacts}}


def _events(tenant: UUID, first: int, upto: int) -> Iterator[tuple[Leaf, Event]]:
    for start in range(first, upto, BATCH):
        batch = Leaf.objects.filter(tenant=tenant, log_index__range=(start, min(start + BATCH, upto) - 1))
        leaves = list(batch.order_by("log_index"))
        found = Event.objects.in_bulk([leaf.event_id for leaf in leaves])
        for leaf in leaves:
            if leaf.event_id not in found:
                words = f"Event {leaf.log_index} of the log is not in the database: verify the log before archiving it."
                raise Conflict(words)
            yield leaf, found[leaf.event_id]


def _verify_file(path: Path, tenant: UUID) -> None:
    """Verify a file as a stranger would, against a key of this tenant. Raises Conflict."""
    try:
        with path.open("rb") as file:
            verify_archive(file, verifiers(tenant))
    except Broken as broken:
        raise Conflict(f"The archive {path.name} does not verify: {broken}") from broken


def prune_archived(tenant: UUID) -> int:
    """
    Take from the database what archives cover and nothing keeps; return how many events. Event `log.pruned`.

    Reads each archive back first. Needs the rights of the tables' owner. Raises Conflict.
    """
    pruned = 0
    for it in Archive.objects.filter(tenant=tenant, prunable=True).order_by("first"):
        with (archive_directory(tenant) / it.file).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != it.sha256:
                raise Conflict(f"The archive {it.file} was changed after it was written. Restore it before you prune.")
        pruned += _prune_archive(it)
    return pruned


def _prune_archive(it: Archive) -> int:
    count = 0
    for start in range(it.first, it.upto, BATCH):
        leaves = Leaf.objects.filter(tenant=it.tenant, log_index__range=(start, min(start + BATCH, it.upto) - 1))
        free = prunable_subjects(it.tenant, leaves.values_list("subject_id", flat=True).distinct(), it.upto)
        with transaction.atomic():
            count += _delete_events(leaves.filter(subject_id__in=free))
    if count:
        with transaction.atomic():
            Archive.objects.filter(pk=it.pk).update(pruned=it.pruned + count, pruned_at=database_time())
            record(NewEvent(it.tenant, subject_of(it), "log.pruned", ACTOR, facts={"events": count, "upto": it.upto}))
    return count


def _delete_events(leaves: QuerySet[Leaf]) -> int:
    """Delete the events of these leaves but each subject's last, and what they opened."""
    later = Event.objects.filter(subject_id=OuterRef("subject_id"), seq__gt=OuterRef("seq"))
    known = Event.objects.filter(pk__in=leaves.values("event_id"))
    gone = list(known.filter(Exists(later)).values_list("pk", "subject_id", "seq"))
    if not gone:
        return 0
    opened = PrivateValue.objects.filter(subject_id__in={subject for _, subject, _ in gone})
    places = {(subject, seq) for _, subject, seq in gone}
    values = [pk for pk, *place in opened.values_list("pk", "subject_id", "seq") if tuple(place) in places]
    PrivateValue.objects.filter(pk__in=values).delete()
    IndexedEvent.objects.filter(event__in=[pk for pk, *_ in gone]).delete()
    rows = Event.objects.filter(pk__in=[pk for pk, *_ in gone])
    rows._raw_delete(rows.db)
    return len(gone)


def prunable_subjects(tenant: UUID, subjects: Iterable[UUID], upto: int) -> set[UUID]:
    """Which of these subjects nothing keeps: ended, wholly archived, not held, and taken by every stream."""
    ids = set(subjects)
    least = first_undelivered(tenant)
    if least is not None and least < upto:
        return set()
    ids -= set(Leaf.objects.filter(subject_id__in=ids, log_index__gte=upto).values_list("subject_id", flat=True))
    ids -= held_subjects(tenant, ids)
    kinds: dict[str, list[UUID]] = {}
    for kind, subject in Event.objects.filter(subject_id__in=ids).values_list("subject_kind", "subject_id").distinct():
        kinds.setdefault(kind, []).append(subject)
    free: set[UUID] = set()
    for kind, those in kinds.items():
        if kind in _ended_checks:
            free |= _ended_checks[kind](those)
    unsealed = Event.objects.filter(subject_id__in=free).exclude(Exists(Leaf.objects.filter(event_id=OuterRef("pk"))))
    return free - set(unsealed.values_list("subject_id", flat=True))


def verified_upto(tenant: UUID) -> int:
    """Below which log index everything is in an archive that was verified. One query."""
    done = Archive.objects.filter(tenant=tenant, prunable=True).order_by("-upto").first()
    return done.upto if done else 0


def read_keep_days(tenant: UUID) -> int | None:
    """For how many days the tenant keeps its events at least; None is forever."""
    row = Retention.objects.filter(pk=tenant).first()
    return row.keep_days if row else None


def read_archive(it: Archive) -> Iterator[bytes]:
    """An archive's file, piece by piece. Raises Unavailable where it is not, or no longer, on this machine."""
    try:
        file = (archive_directory(it.tenant) / it.file).open("rb")
    except OSError as error:
        words = f"{it.file} is not on this machine ({error.strerror}). Its SHA-256 is {it.sha256}."
        raise Unavailable(
            words, remedies=["Look for it where this installation keeps copies of its archives."]
        ) from error
    return _read_pieces(file)


def _read_pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def subject_of(it: Archive) -> Subject:
    return Subject("archive", it.pk, it.file, "/audit/retention/")


# What an admin of the tenant says about keeping and letting go. Every verb leaves an event.


MIN_KEEP_DAYS, MAX_KEEP_DAYS = 30, 36_500


def set_keep_days(tenant: UUID, days: int | None, by: str) -> None:
    """Keep events in the database for so many days at least; None: forever. Event `retention.set`. Raises Invalid."""
    if days is not None and not MIN_KEEP_DAYS <= days <= MAX_KEEP_DAYS:
        words = f"Between {MIN_KEEP_DAYS} and {MAX_KEEP_DAYS:,} days, or empty to keep them forever."
        raise Invalid(words, issues=[{"severity": "error", "field": "keep_days", "message": words}])
    with transaction.atomic():
        row, _ = Retention.objects.select_for_update().get_or_create(pk=tenant)
        facts = {"from": row.keep_days, "to": days}
        row.keep_days = days
        row.save()
        record(NewEvent(tenant, Subject("tenant", tenant), "retention.set", by, facts=facts))


def list_archives(tenant: UUID) -> list[Archive]:
    """The newest archives first."""
    return list(Archive.objects.filter(tenant=tenant).order_by("-first")[:200])


def find_archive(tenant: UUID, archive_id: UUID) -> Archive:
    """Raises NotFound."""
    found = Archive.objects.filter(pk=archive_id, tenant=tenant).first()
    if found is None:
        raise NotFound
    return found


def first_undelivered(tenant: UUID) -> int | None:
    """The first `log_index` that an active stream of the tenant has not taken; None if there are no streams."""
    least: int | None = Stream.objects.filter(tenant=tenant, is_active=True).aggregate(least=Min("position"))["least"]
    return least
