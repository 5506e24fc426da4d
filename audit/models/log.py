"""The log itself. Events and artifacts are append-only (`audit.database.guards`); private values can be erased."""

from django.db import models


class Event(models.Model):
    """One fact about one subject. `body` is the canonical envelope; `hash` its SHA-256; the columns repeat the body.

    Events of one subject are chained: `seq` counts 1, 2, 3 … and each body carries the hash of the one before it. A
    subject's id is unique across kinds, so the id alone names the chain.
    """

    tenant = models.UUIDField()
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    seq = models.BigIntegerField()
    verb = models.CharField(max_length=64)
    outcome = models.CharField(max_length=32)
    actor = models.CharField(max_length=64)
    correlation_id = models.CharField(max_length=128, blank=True)
    at = models.DateTimeField()
    body = models.BinaryField()
    hash = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject_id", "seq"], name="audit_event_one_per_seq"),
            models.CheckConstraint(condition=models.Q(seq__gt=0), name="audit_event_seq_from_one"),
        ]
        indexes = [
            models.Index(fields=["tenant", "id"], name="audit_event_by_tenant"),
            models.Index(fields=["tenant", "correlation_id"], name="audit_event_by_correlation"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} #{self.seq} of {self.subject_kind} {self.subject_id}"


class PrivateValue(models.Model):
    """Personal or free text named by an event, which holds only a salted commitment to it.

    Erasing removes salt and value; the event stays valid, and what it committed to can no longer be guessed.
    """

    tenant = models.UUIDField()
    subject_id = models.UUIDField()
    seq = models.BigIntegerField()
    name = models.CharField(max_length=64)
    salt = models.BinaryField(null=True)
    value = models.BinaryField(null=True)
    erased_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject_id", "seq", "name"], name="audit_private_one_per_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of #{self.seq}"


class Artifact(models.Model):
    """One chunk of a blob that is named by the SHA-256 of all its bytes. An empty blob is one empty chunk."""

    tenant = models.UUIDField()
    digest = models.CharField(max_length=64)
    n = models.IntegerField()
    chunks = models.IntegerField()
    size = models.BigIntegerField()
    media_type = models.CharField(max_length=128)
    data = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "digest", "n"], name="audit_artifact_one_per_chunk"),
        ]

    def __str__(self) -> str:
        return f"{self.digest[:12]} {self.n + 1}/{self.chunks}"
