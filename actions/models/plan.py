"""The immutable result of preflight, identified by its digest."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from audit.database.clock import uuid7


class Plan(models.Model):
    """
    What an action would change, step by step.

    `document` and `changes` are the digests of artifacts (the machine plan, the change document). `steps` repeats the
    plan's steps for the runner. Scores, verdict, the facts judged and observations stand beside the digest, not in it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    action = models.ForeignKey("actions.Action", on_delete=models.CASCADE, related_name="plans", db_index=False)
    version = models.PositiveSmallIntegerField()
    digest = models.CharField(max_length=64)
    document = models.CharField(max_length=64)
    changes = models.CharField(max_length=64)
    summary = models.TextField()
    steps = models.JSONField(default=list)
    rollback = models.JSONField(default=dict)
    recovery = models.JSONField(default=dict)
    counts = models.JSONField(default=dict)
    blast = models.JSONField(default=dict)
    verdict = models.JSONField(default=dict)
    facts = models.JSONField(default=dict)
    observations = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["action", "version"], name="one_plan_per_version")]

    def __str__(self) -> str:
        return f"plan v{self.version} {self.digest[:12]}"
