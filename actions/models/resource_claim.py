"""Who has a resource, and who waits for it."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ResourceClaim(models.Model):
    """
    An action's claim on one resource: held while it runs, or waiting its turn. Written by `actions.locks` alone.

    `key` is the SHA-256 of environment, kind and name. Claims on a key queue up by action; at most one is held.
    """

    key = models.CharField(max_length=64)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=64)
    name = models.TextField()
    action = models.ForeignKey("actions.Action", on_delete=models.CASCADE, related_name="claims", db_index=False)
    held = models.BooleanField()
    since = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["action", "key"], name="one_claim_per_action_and_resource"),
            models.UniqueConstraint(fields=["key"], condition=Q(held=True), name="one_action_at_a_time_per_resource"),
        ]
        indexes: ClassVar = [models.Index(fields=["key", "id"], name="resourceclaim_queue")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {'held' if self.held else 'waits'}"
