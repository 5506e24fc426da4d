"""What must stay, what was archived, and for how long a tenant keeps its log."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.ids import uuid7


class LegalHold(models.Model):
    """While it stands, nothing of a subject (none: of the whole tenant) is pruned or erased."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    subject_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=500)
    set_by = models.CharField(max_length=64)
    set_at = models.DateTimeField(db_default=Now())
    lifted_by = models.CharField(max_length=64, blank=True)
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["tenant", "subject_id"], condition=Q(lifted_at=None), name="audit_holds_standing"),
        ]

    def __str__(self) -> str:
        return f"hold on {self.subject_id or 'everything'}"


class Retention(models.Model):
    """For how many days a tenant's events stay in the database at least; none: for ever."""

    tenant = models.UUIDField(primary_key=True)
    keep_days = models.PositiveIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.tenant}: {self.keep_days or 'for ever'}"


class Archive(models.Model):
    """
    A file with the sealed events `first` to `upto` (not included) of a tenant, and the head that was signed over them.

    `prunable` is set once the file was read back and verified; only then may what it covers leave the database.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    first = models.BigIntegerField()
    upto = models.BigIntegerField()
    file = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    made_at = models.DateTimeField(db_default=Now())
    prunable = models.BooleanField(default=False)
    pruned = models.BigIntegerField(default=0)
    pruned_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "first"], name="audit_archive_one_per_range"),
            models.CheckConstraint(name="audit_archive_has_events", condition=Q(upto__gt=models.F("first"))),
        ]

    def __str__(self) -> str:
        return f"{self.first}–{self.upto} of {self.tenant}"
