"""Blobs named by their content (plans, diffs, logs), kept in chunks that any process can stream.

Store an artifact in, or before, the transaction of the event that names it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.database.statements import Rows, insert_together
from audit.models import Artifact

CHUNK_BYTES = 256 * 1024
BATCH_BYTES = 16 * 1024 * 1024  # of one INSERT; a larger set takes several
COLUMNS = ("tenant", "digest", "n", "chunks", "size", "media_type", "data")


class ArtifactMissing(LookupError):
    """No such artifact, or a chunk of it is gone."""


@dataclass(frozen=True)
class ArtifactRows:
    """An artifact ready to be inserted: its digest (hex SHA-256) and one row per chunk."""

    digest: str
    rows: tuple[tuple[Any, ...], ...]


def pack_artifact(tenant: UUID, data: bytes, media_type: str) -> ArtifactRows:
    """Cut `data` into rows; touches no database."""
    digest = hashlib.sha256(data).hexdigest()
    count = max(1, -(-len(data) // CHUNK_BYTES))
    rows = tuple(
        (tenant, digest, n, count, len(data), media_type, data[n * CHUNK_BYTES : (n + 1) * CHUNK_BYTES])
        for n in range(count)
    )
    return ArtifactRows(digest, rows)


def insert_artifacts(packs: Iterable[ArtifactRows]) -> None:
    """Insert the chunks that are not stored yet, in one statement (more beyond 16 MiB)."""
    for rows in artifact_rows(packs):
        insert_together([rows])


def artifact_rows(packs: Iterable[ArtifactRows]) -> list[Rows]:
    """The chunks, in as many sets as there should be statements: one, unless they come to more than 16 MiB.

    Sorted, so that two transactions that store the same artifacts wait for one another instead of deadlocking.
    """
    rows = sorted({row[:3]: row for pack in packs for row in pack.rows}.values(), key=lambda row: row[:3])
    batches: list[list[tuple[Any, ...]]] = [[]] if rows else []
    held = 0
    for row in rows:
        if batches[-1] and held + len(row[-1]) > BATCH_BYTES:
            batches.append([])
            held = 0
        batches[-1].append(row)
        held += len(row[-1])
    return [Rows(Artifact, COLUMNS, batch, ignore_existing=True) for batch in batches]


def store_artifact(tenant: UUID, data: bytes, media_type: str) -> str:
    """Store one artifact; return its digest."""
    pack = pack_artifact(tenant, data, media_type)
    insert_artifacts([pack])
    return pack.digest


def open_artifact(tenant: UUID, digest: str) -> Iterator[bytes]:
    """Stream the chunks, one query each, so that memory stays within one chunk. Raises ArtifactMissing."""
    n, count = 0, 1
    while n < count:
        row = Artifact.objects.filter(tenant=tenant, digest=digest, n=n).values_list("chunks", "data").first()
        if row is None:
            raise ArtifactMissing(f"artifact {digest}: chunk {n} is missing")
        count = row[0]
        yield bytes(row[1])
        n += 1


def read_artifact(tenant: UUID, digest: str) -> bytes:
    """The whole artifact. Raises ArtifactMissing."""
    return b"".join(open_artifact(tenant, digest))
