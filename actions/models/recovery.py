"""What keeps a failing target from being asked for ever: circuit breakers and buckets of retries."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from audit.database.clock import uuid7


class Breaker(models.Model):
    """
    The circuit breaker of one executor at one target. Written by `actions.run.breakers` alone, under its row's lock.

    There is a row only where something has failed. `key` is that of the actions it stops (`Action.breaker_key`).
    `failures` are consecutive. While it is open nothing begins before `open_until`; then one waiting action (`probe`)
    is let through, and its outcome closes the breaker or opens it again for longer (`openings`). Database time.
    """

    class State(models.TextChoices):
        CLOSED = "closed"
        OPEN = "open"
        HALF_OPEN = "half-open"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    key = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, related_name="+")
    type = models.CharField(max_length=64)
    target = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.CLOSED)
    failures = models.PositiveIntegerField(default=0)
    openings = models.PositiveIntegerField(default=0)
    code = models.CharField(max_length=120, blank=True)
    failed_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(null=True)
    open_until = models.DateTimeField(null=True)
    probe = models.ForeignKey("actions.Action", on_delete=models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        return f"{self.type} at {self.target or 'the environment'}: {self.state}"


class RetryBucket(models.Model):
    """How many retries one target has left: a token each, refilled with time. Written by `actions.run.budget` alone."""

    key = models.CharField(max_length=64, primary_key=True)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    tokens = models.FloatField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [models.Index(fields=["at"], name="retrybucket_by_age")]
