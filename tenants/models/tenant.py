"""Tenants, their environments, and the resources in them."""

from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now

from audit.database.clock import uuid7

SLUG = RegexValidator(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", "Use lower-case letters, digits and inner hyphens.")

# Permissions in a tenant or environment: codename and label.
PERMISSIONS = {
    "view": "See what happens here",
    "propose": "Propose actions",
    "approve": "Decide on requests",
    "operate": "Cancel, abort, retry, resume and roll back",
    "break_glass": "Run without approval in an emergency",
    "audit": "Read and export the audit log",
    "administer": "Administer members, environments and policies",
}


class RiskClass(models.TextChoices):
    SAFE = "safe", "safe"
    GUARDED = "guarded", "guarded"
    DANGEROUS = "dangerous", "dangerous"


class Tenant(models.Model):
    """An organisation. `wrapped_key` is its data key, encrypted under the installation's key (tenants.vault)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.CharField(max_length=63, unique=True, validators=[SLUG])
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    wrapped_key = models.BinaryField(null=True, editable=False)

    class Meta:
        permissions = list(PERMISSIONS.items())
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name


class Environment(models.Model):
    """Where actions run. `root` is a directory on the worker's machine; `settings` is for executors: no secrets."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="environments")
    slug = models.CharField(max_length=63, validators=[SLUG])
    name = models.CharField(max_length=200)
    risk_class = models.CharField(max_length=16, choices=RiskClass, default=RiskClass.GUARDED)
    root = models.TextField(blank=True, default="")
    settings = models.JSONField(blank=True, default=dict)

    class Meta:
        permissions = list(PERMISSIONS.items())
        ordering = ["tenant", "slug"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="environment_slug_once_per_tenant"),
            models.CheckConstraint(condition=models.Q(risk_class__in=RiskClass.values), name="environment_risk_class"),
        ]

    def __str__(self) -> str:
        return self.name


class Resource(models.Model):
    """A thing that actions can change. `monthly_cost` null means unknown, which raises the tier.

    Its tenant is its environment's (trigger).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="resources")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="resources")
    kind = models.CharField(max_length=63)
    name = models.CharField(max_length=500)
    labels = models.JSONField(blank=True, default=dict)
    monthly_cost = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    risk_class = models.CharField(max_length=16, choices=RiskClass, default=RiskClass.GUARDED)
    depends_on = models.ManyToManyField("self", symmetrical=False, blank=True, related_name="needed_by")

    class Meta:
        ordering = ["environment", "kind", "name"]
        constraints = [
            models.UniqueConstraint(fields=["environment", "kind", "name"], name="resource_once_per_environment"),
            models.CheckConstraint(condition=models.Q(risk_class__in=RiskClass.values), name="resource_risk_class"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"
