"""Controls that keep an action from starting: resource locks, quarantines, circuit breakers, limits, freezes, nodes."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7


class ResourceLock(models.Model):
    """
    An action's lock on one resource: held while it runs, or waiting. Only `actions.controls.resource_locks` writes it.

    `key` is the SHA-256 of environment, kind and name. Locks with one key queue by action; at most one is held.
    """

    key = models.CharField(max_length=64)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=64)
    name = models.TextField()
    action = models.ForeignKey(
        "actions.Action", on_delete=models.CASCADE, related_name="resource_locks", db_index=False
    )
    held = models.BooleanField()
    since = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["action", "key"], name="one_lock_per_action_and_resource"),
            models.UniqueConstraint(fields=["key"], condition=Q(held=True), name="one_action_at_a_time_per_resource"),
        ]
        indexes: ClassVar = [models.Index(fields=["key", "id"], name="resourcelock_queue")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {'held' if self.held else 'waits'}"


# Quarantines: resources that no action may touch until an approved action clears them.


class Quarantine(models.Model):
    """
    One resource in quarantine. `key` is that of `ResourceLock`: the SHA-256 of environment, kind and name.

    Set by the `action` that left the resource in an unknown state, or by a person (`by`) with a `reason`. Only an
    approved action clears it (`cleared_by_action`). At most one per resource at a time.
    """

    class Because(models.TextChoices):
        UNDO_FAILED = "undo_failed", "its undo failed"
        IN_DOUBT = "in_doubt", "a step in doubt was not resolved"
        OPERATOR = "operator", "set by a person"

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


# Circuit breakers and retry budgets.


class CircuitBreaker(models.Model):
    """
    The circuit breaker of one executor at one target. Only `actions.controls.circuit_breaker` writes it, under its
    row's lock.

    A row exists only after a failure. `key` is that of the actions it stops (`Action.breaker_key`). `failures` are
    consecutive. While it is open nothing starts before `open_until`; then one waiting action (`probe`) starts, and its
    outcome closes the breaker or opens it again for longer (`openings`). Database time.
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


class RetryBudget(models.Model):
    """
    The retry budget of one target: one token per retry, refilled with time. Only `actions.controls.limits` writes it.
    """

    key = models.CharField(max_length=64, primary_key=True)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    tokens = models.FloatField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [models.Index(fields=["at"], name="retrybudget_by_age")]


# Concurrency limits, freezes and nodes.


class ConcurrencyLimit(models.Model):
    """
    How many actions may run at once: of a tenant, or of it in one environment, or of one type, or of both.

    Running is in progress, verifying or rolling back. Every limit that covers an action applies. Counted under a lock
    on these rows by `actions.controls.limits`.
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
        "at most",
        validators=[MinValueValidator(1)],
        help_text="The number of these actions that may run at the same time.",
    )

    class Meta:
        verbose_name = "concurrency limit"
        ordering: ClassVar = ["tenant", "environment", "type"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "environment", "type"],
                name="one_limit_per_environment_and_type",
                condition=Q(environment__isnull=False),
                violation_error_message="This limit exists already. Change it.",
            ),
            models.UniqueConstraint(
                fields=["tenant", "type"],
                name="one_limit_per_tenant_and_type",
                condition=Q(environment__isnull=True),
                violation_error_message="This limit exists already. Change it.",
            ),
            models.CheckConstraint(name="limit_lets_one_run", condition=Q(most__gte=1)),
        ]

    def __str__(self) -> str:
        place = self.environment.slug if self.environment else "all environments"
        return f"{self.most} at once of {self.type or 'all types'} in {place}"

    def covers(self, environment_id: object, kind: str) -> bool:
        """Whether it covers actions of this type in this environment of its tenant."""
        return self.environment_id in (None, environment_id) and self.type in ("", kind)


class Freeze(models.Model):
    """
    The freeze of an environment: nothing starts there, and running actions are held at their next checkpoint.

    One row per freeze; at most one of an environment is not lifted. Written by `actions.commands.freeze`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, related_name="freezes")
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
                fields=["environment"], name="one_freeze_per_environment", condition=Q(lifted_at__isnull=True)
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
