"""Where a tenant's events are sent on, how far that is, and what was given up."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.ids import uuid7


class Stream(models.Model):
    """
    One receiver of a tenant's sealed events, in the order of the log.

    `position` is the first `log_index` that it has not taken. `verbs` are beginnings of verbs, such as `action.`; none
    is all. `secret` signs what a webhook gets, encrypted. `offset` is where a file ended, in bytes.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "CloudEvents to a web address"
        FILE = "file", "JSON lines in a file"
        SYSLOG = "syslog", "syslog (RFC 5424)"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    name = models.SlugField(max_length=64)
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=500, blank=True)
    verbs = models.JSONField(default=list, blank=True)
    allow_private = models.BooleanField(default=False)
    secret = models.BinaryField(null=True)
    is_active = models.BooleanField(default=True)
    position = models.BigIntegerField(default=0)
    offset = models.BigIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    fault = models.CharField(max_length=300, blank=True)
    next_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    sent = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "name"], name="audit_stream_one_per_name")]
        indexes: ClassVar = [
            models.Index(fields=["next_at"], condition=Q(is_active=True), name="audit_stream_due"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


class DeadLetter(models.Model):
    """A range of the log that a stream gave up: `first` to `last`, both included. It can be sent again."""

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="dead_letters")
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    events = models.PositiveIntegerField()
    fault = models.CharField(max_length=300)
    at = models.DateTimeField(db_default=Now())
    resent_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["stream", "-id"], condition=Q(resent_at=None), name="audit_dead_letters"),
        ]

    def __str__(self) -> str:
        return f"{self.first}–{self.last} of {self.stream_id}"
