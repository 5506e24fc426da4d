"""A resource that nothing may touch until people have approved that it may be touched again."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7


class Quarantine(models.Model):
    """
    One resource in quarantine. `key` is that of `ResourceClaim`: the SHA-256 of environment, kind and name.

    Set by the `action` that left the resource in a state nobody can vouch for, or by a person (`by`), who says why in
    `reason`. It ends only when an approved action clears it (`cleared_by_action`). At most one on a resource at a time.
    """

    class Because(models.TextChoices):
        UNDO_FAILED = "undo_failed", "its undo failed"
        IN_DOUBT = "in_doubt", "a step in doubt was given up"
        OPERATOR = "operator", "a person asked for it"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=64)
    kind = models.CharField(max_length=64)
    name = models.TextField()
    action = models.ForeignKey(
        "actions.Action", null=True, on_delete=models.PROTECT, related_name="quarantines", db_index=False
    )
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    because = models.CharField(max_length=16, choices=Because)
    reason = models.TextField(blank=True)
    since = models.DateTimeField(db_default=Now())
    cleared_at = models.DateTimeField(null=True)
    cleared_by_action = models.ForeignKey(
        "actions.Action", null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["key"], condition=Q(cleared_at__isnull=True), name="one_quarantine_of_a_resource"
            ),
            models.CheckConstraint(
                name="quarantine_cleared_says_by_what",
                condition=Q(cleared_at__isnull=True) | Q(cleared_by_action__isnull=False),
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["environment", "-id"], name="quarantine_by_environment"),
            models.Index(fields=["environment"], condition=Q(cleared_at__isnull=True), name="quarantine_in_force"),
            models.Index(fields=["action"], condition=Q(action__isnull=False), name="quarantine_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
