"""The records of runs: leases, the step journal, log lines, and before-images."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Lease(models.Model):
    """
    A worker process's lease on the actions that it runs. Its id is the fencing epoch: every write carries it.

    The worker renews it; the worker ends it, or the sweep once `expires_at` has passed, with the reason.
    """

    queue = models.CharField(max_length=16)
    worker = models.CharField(max_length=120)
    node = models.CharField(max_length=100, blank=True, default="", db_default="")
    """The node whose actions it runs, and no others; empty for actions of no node."""
    serves = models.JSONField(default=list, db_default=[])
    """The environments it is limited to, as `tenant/environment`; empty for all."""
    started_at = models.DateTimeField(db_default=Now())
    renewed_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ended_why = models.CharField(max_length=120, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="lease_running", condition=models.Q(ended_at__isnull=True))
        ]


class JournalEntry(models.Model):
    """
    One entry of an action's step journal, append-only: intent → effect → receipt.

    A crash leaves an `intent` without a `receipt` or `failure`; `probe()` resolves it.
    """

    class Kind(models.TextChoices):
        INTENT = "intent"
        RECEIPT = "receipt"
        FAILURE = "failure"
        SKIP = "skip"
        UNDO_INTENT = "undo_intent"
        UNDO_RECEIPT = "undo_receipt"
        UNDO_FAILURE = "undo_failure"

    action = models.ForeignKey(
        "actions.Action", on_delete=models.CASCADE, related_name="journal_entries", db_index=False
    )
    plan = models.ForeignKey("actions.Plan", on_delete=models.CASCADE, related_name="+", db_index=False)
    step = models.CharField(max_length=200)
    attempt = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=12, choices=Kind)
    lease = models.BigIntegerField()
    at = models.DateTimeField()
    facts = models.JSONField(default=dict)
    log = models.TextField(blank=True)
    metrics = models.JSONField(null=True)
    """The usage of an attempt (`actions.run.transcript`), on the entry that ends it; null if not measured."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["action", "step", "attempt", "kind"], name="one_journal_entry_of_a_kind_per_attempt"
            )
        ]


class BeforeImage(models.Model):
    """The content that a step overwrites, encrypted under the tenant's key. Never part of an evidence pack."""

    action = models.ForeignKey("actions.Action", on_delete=models.CASCADE, related_name="before_images", db_index=False)
    step = models.CharField(max_length=200)
    ciphertext = models.BinaryField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["action", "step"], name="one_before_image_per_step")]


# Log lines of running attempts; their receipt has them later.


class LogLine(models.Model):
    """
    Log lines of one attempt that has not ended yet, as one worker wrote them: `text` begins with line `first` (from 0).

    Written by `actions.run.transcript`, about once a second while there are new lines, fenced by the worker's lease.
    The journal entry that ends the attempt has its whole log; then readers ignore these rows, and the sweep deletes
    them.
    """

    action = models.ForeignKey("actions.Action", models.CASCADE, related_name="log_lines", db_index=False)
    step = models.CharField(max_length=200)
    attempt = models.PositiveSmallIntegerField()
    is_undo = models.BooleanField()
    first = models.PositiveIntegerField()
    lines = models.PositiveIntegerField()
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["action", "step", "attempt", "is_undo", "first"], name="each_log_line_once")
        ]

    def __str__(self) -> str:
        return f"{self.step}: {self.lines} lines from {self.first}"
