"""Packs that are built in the background, and what is withheld from whom."""

from typing import ClassVar

from django.db import models

from audit.ids import uuid7


class Audience(models.Model):
    """A tenant's own rule what is withheld from somebody; see `audit.evidence.redaction`."""

    tenant = models.UUIDField()
    name = models.SlugField(max_length=32)
    withheld = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="audit_audience_one_per_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"


class PackJob(models.Model):
    """A pack that somebody asked for and that takes a while. Built once, kept for a day, in chunks of its own table.

    `lease` counts who builds it; who holds an older one has been given up and stores nothing. `done` of `total` tells
    the progress.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        BUILDING = "building"
        READY = "ready"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    audience = models.CharField(max_length=32)
    form = models.CharField(max_length=8)
    asked_by = models.CharField(max_length=64)
    asked_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    lease = models.PositiveIntegerField(default=0)
    seen_at = models.DateTimeField(null=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    doing = models.CharField(max_length=60, blank=True)
    size = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    why = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["tenant", "subject_id", "-asked_at"], name="audit_packjob_by_subject"),
            models.Index(
                fields=["asked_at"], condition=models.Q(state__in=["waiting", "building"]), name="audit_packjob_open"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.form} of {self.subject_kind} {self.subject_id}"


class PackChunk(models.Model):
    """One MiB of a built pack."""

    job = models.ForeignKey(PackJob, on_delete=models.CASCADE, related_name="chunks")
    n = models.IntegerField()
    data = models.BinaryField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "n"], name="audit_packchunk_one_per_n")]

    def __str__(self) -> str:
        return f"{self.n} of {self.job_id}"
