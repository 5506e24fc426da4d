"""What execution leaves behind: who held the action, what was tried, what is done, and the state before."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Lease(models.Model):
    """
    A worker process's claim on the actions that it holds. Its id is the fencing epoch: every write carries it.

    Renewed by the worker; ended by the worker, or by the sweep once `expires_at` has passed, with the reason.
    """

    queue = models.CharField(max_length=16)
    worker = models.CharField(max_length=120)
    node = models.CharField(max_length=100, blank=True, default="", db_default="")
    """The node whose actions it carries, and no others; empty for actions of no node."""
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


class Checkpoint(models.Model):
    """
    One line of an action's step ledger, append-only: intent → effect → receipt.

    An `intent` without a `receipt` or `failure` after it is what a crash leaves; `probe()` settles it.
    """

    class Kind(models.TextChoices):
        INTENT = "intent"
        RECEIPT = "receipt"
        FAILURE = "failure"
        SKIP = "skip"
        UNDO_INTENT = "undo_intent"
        UNDO_RECEIPT = "undo_receipt"
        UNDO_FAILURE = "undo_failure"

    action = models.ForeignKey("actions.Action", on_delete=models.CASCADE, related_name="checkpoints", db_index=False)
    plan = models.ForeignKey("actions.Plan", on_delete=models.CASCADE, related_name="+", db_index=False)
    step = models.CharField(max_length=200)
    attempt = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=12, choices=Kind)
    lease = models.BigIntegerField()
    at = models.DateTimeField()
    facts = models.JSONField(default=dict)
    log = models.TextField(blank=True)
    metrics = models.JSONField(null=True)
    """What an attempt used (`actions.run.metrics`), on the line that ends it; null where nothing was measured."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["action", "step", "attempt", "kind"], name="one_checkpoint_of_a_kind_per_attempt"
            )
        ]


class BeforeImage(models.Model):
    """What a step is about to overwrite, encrypted under the tenant's key. Never leaves in an evidence pack."""

    action = models.ForeignKey("actions.Action", on_delete=models.CASCADE, related_name="before_images", db_index=False)
    step = models.CharField(max_length=200)
    ciphertext = models.BinaryField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["action", "step"], name="one_before_image_per_step")]
