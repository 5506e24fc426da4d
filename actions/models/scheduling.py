"""What decides when and where an action may start: caps, an environment's switch, and the nodes that run their own."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7


class Cap(models.Model):
    """
    How many actions may run at once: of a tenant, or of it in one environment, or of one type, or of both.

    Running is in progress, verifying or rolling back. Every cap that covers an action holds. Judged under a lock on
    these rows by `actions.scheduling.caps`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    environment = models.ForeignKey(
        "tenants.Environment",
        on_delete=models.CASCADE,
        related_name="+",
        null=True,
        blank=True,
        db_index=False,
        help_text="Empty: in all environments together.",
    )
    type = models.CharField(
        "action type", max_length=64, blank=True, default="", help_text="Empty: of all types together."
    )
    most = models.PositiveSmallIntegerField(
        "at most", validators=[MinValueValidator(1)], help_text="So many of these actions may run at the same time."
    )

    class Meta:
        verbose_name = "concurrency cap"
        ordering: ClassVar = ["tenant", "environment", "type"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "environment", "type"],
                name="one_cap_per_place_and_type",
                condition=Q(environment__isnull=False),
                violation_error_message="There is a cap on this already; change that one.",
            ),
            models.UniqueConstraint(
                fields=["tenant", "type"],
                name="one_cap_per_tenant_and_type",
                condition=Q(environment__isnull=True),
                violation_error_message="There is a cap on this already; change that one.",
            ),
            models.CheckConstraint(name="cap_lets_one_run", condition=Q(most__gte=1)),
        ]

    def __str__(self) -> str:
        place = self.environment.slug if self.environment else "all environments"
        return f"{self.most} at once of {self.type or 'all types'} in {place}"

    def covers(self, environment_id: object, kind: str) -> bool:
        """Whether it counts actions of this type there; of its own tenant, that is."""
        return self.environment_id in (None, environment_id) and self.type in ("", kind)


class EnvironmentHold(models.Model):
    """
    The operator's switch of an environment, set: nothing starts there, and what runs is held at its next checkpoint.

    A row for each time it was set; at most one of an environment is not lifted. Written by `actions.scheduling.switch`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, related_name="holds")
    reason = models.TextField()
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    since = models.DateTimeField(db_default=Now(), editable=False)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False, null=True
    )
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment"], name="one_hold_at_a_time_per_environment", condition=Q(lifted_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.environment_id}: {'held' if self.lifted_at is None else 'lifted'}"


class Node(models.Model):
    """A machine whose own worker has been seen. From then on, that machine's actions wait for such a worker."""

    name = models.CharField(max_length=100, primary_key=True)
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name
