"""What the explorer reads: facts of events in columns that can be counted, words of private values, saved searches.

All of it follows from the log and can be made anew; only saved searches are somebody's own.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.ids import uuid7


class IndexedEvent(models.Model):
    """One event's facts to filter and count by. `environment` and `type` are its subject's, on each of its events.

    Written by `audit.explore.indexer`, never in the transaction that records: recording pays nothing for searching.
    """

    event = models.BigIntegerField(primary_key=True)
    tenant = models.UUIDField()
    at = models.DateTimeField()
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    environment = models.UUIDField(null=True)
    type = models.CharField(max_length=64, blank=True, default="")
    verb = models.CharField(max_length=64)
    outcome = models.CharField(max_length=32)
    actor = models.CharField(max_length=64)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "event"], name="audit_indexed_by_tenant"),
            models.Index(fields=["tenant", "at"], name="audit_indexed_by_time"),
            models.Index(fields=["tenant", "environment", "event"], name="audit_indexed_by_place"),
            models.Index(fields=["tenant", "verb", "event"], name="audit_indexed_by_verb"),
            models.Index(fields=["tenant", "actor", "event"], name="audit_indexed_by_actor"),
            models.Index(fields=["tenant", "type", "event"], name="audit_indexed_by_type"),
            models.Index(fields=["tenant", "subject_kind", "event"], name="audit_indexed_by_kind"),
            models.Index(
                fields=["tenant", "outcome", "event"], name="audit_indexed_by_outcome", condition=~Q(outcome="ok")
            ),
            models.Index(fields=["subject_id", "event"], name="audit_indexed_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} of {self.subject_kind} {self.subject_id}"


class Word(models.Model):
    """One word of one private value, case folded, as UTF-8: bytes compare alike on every database.

    A trigger takes a value's words away when the value is erased (`audit.explore.forgetting`).
    """

    tenant = models.UUIDField()
    word = models.BinaryField(max_length=160)
    at = models.DateTimeField()
    subject_id = models.UUIDField()
    seq = models.BigIntegerField()
    name = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject_id", "seq", "name", "word"], name="audit_word_once")]
        indexes = [models.Index(fields=["tenant", "word", "at"], name="audit_word_by_tenant")]

    def __str__(self) -> str:
        return bytes(self.word).decode("utf-8", "replace")


class IndexCursor(models.Model):
    """How far the index has come: the one row. Every event up to `upto` is in it."""

    upto = models.BigIntegerField(default=0)
    moved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"up to {self.upto}"


class SavedSearch(models.Model):
    """Somebody's search by name: the explorer's query string. `by` is a principal's id; others see what is shared."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    by = models.CharField(max_length=64)
    name = models.CharField(max_length=80)
    query = models.CharField(max_length=2000, blank=True, default="")
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "by", "name"], name="audit_search_name_once")]

    def __str__(self) -> str:
        return self.name
