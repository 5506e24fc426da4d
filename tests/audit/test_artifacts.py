"""Artifacts: content-addressed per tenant, chunked, streamed."""

import hashlib

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.database.clock import uuid7
from audit.log import artifacts
from audit.log.artifacts import (
    CHUNK_BYTES,
    ArtifactMissing,
    insert_artifacts,
    open_artifact,
    pack_artifact,
    read_artifact,
)
from audit.models import Artifact
from tests.audit.cast import TENANT

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_was_stored_is_read_back_under_its_sha256(size):
    data = bytes(n % 251 for n in range(size))
    digest = artifacts.store_artifact(TENANT, data, "application/json")
    assert digest == hashlib.sha256(data).hexdigest()
    assert read_artifact(TENANT, digest) == data
    assert all(len(chunk) <= CHUNK_BYTES for chunk in open_artifact(TENANT, digest))
    rows = Artifact.objects.filter(digest=digest)
    assert {(row.size, row.chunks, row.media_type) for row in rows} == {(size, len(rows), "application/json")}


def test_storing_the_same_bytes_again_keeps_one_copy_per_tenant():
    other = uuid7()
    for tenant in (TENANT, TENANT, other):
        artifacts.store_artifact(tenant, b"same", "text/plain")
    assert sorted(Artifact.objects.values_list("tenant", flat=True)) == sorted([TENANT, other])


def test_a_set_with_repetitions_is_one_statement():
    artifacts.store_artifact(TENANT, b"0", "text/plain")
    packs = [pack_artifact(TENANT, str(n % 10).encode(), "text/plain") for n in range(30)]
    with CaptureQueriesContext(connection) as queries:
        insert_artifacts(packs)
    assert len(queries) == 1
    assert Artifact.objects.count() == 10


def test_a_large_set_is_inserted_in_several_statements(monkeypatch):
    monkeypatch.setattr(artifacts, "BATCH_BYTES", 10)
    insert_artifacts([pack_artifact(TENANT, str(n).encode() * 6, "text/plain") for n in range(5)])
    assert Artifact.objects.count() == 5


def test_an_unknown_artifact_and_one_of_another_tenant_are_missing_alike():
    digest = artifacts.store_artifact(uuid7(), b"theirs", "text/plain")
    for unknown in (digest, "0" * 64):
        with pytest.raises(ArtifactMissing):
            read_artifact(TENANT, unknown)


def test_a_lost_chunk_is_reported_not_skipped():
    pack = pack_artifact(TENANT, bytes(2 * CHUNK_BYTES + 5), "text/plain")
    insert_artifacts([artifacts.ArtifactRows(pack.digest, (pack.rows[0], pack.rows[2]))])
    with pytest.raises(ArtifactMissing, match="chunk 1"):
        read_artifact(TENANT, pack.digest)
