"""What a run was expected to do, and what it did: one row per action that ran, for what is known of the next one."""

from typing import ClassVar

from django.db import models


class Impact(models.Model):
    """
    Predicted against verified impact of one action. Written by `actions.impact`, in the transaction of its end.

    `predicted_*`, `score` and `tier` are the plan's; `verified_changes` and `checks` are what was re-read after the
    last step (null: it never came to that); `standing` counts steps whose effect is there at the end. `is_failure`
    leaves out what a person stopped. `step_ms`: how long each step of the plan took, in its order, where they are few
    and all were done. `ended_at` is null while a failed verification is still being undone.
    """

    action = models.OneToOneField("actions.Action", models.CASCADE, primary_key=True, related_name="impact")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, related_name="+", db_index=False)
    type = models.CharField(max_length=64)
    target = models.CharField(max_length=401)
    state = models.CharField(max_length=17)
    code = models.CharField(max_length=120)
    is_failure = models.BooleanField()
    tier = models.CharField(max_length=8)
    score = models.PositiveSmallIntegerField()
    predicted_changes = models.PositiveIntegerField()
    predicted_deletes = models.PositiveIntegerField()
    predicted_resources = models.PositiveIntegerField()
    steps = models.PositiveIntegerField()
    applied = models.PositiveIntegerField()
    standing = models.PositiveIntegerField()
    verified_changes = models.PositiveIntegerField(null=True)
    checks = models.PositiveIntegerField(null=True)
    checks_failed = models.PositiveIntegerField(null=True)
    duration_ms = models.BigIntegerField()
    step_ms = models.JSONField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["environment", "type", "target", "-ended_at"], name="impact_history"),
            models.Index(fields=["environment", "-ended_at"], name="impact_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.type}: {self.state}"
