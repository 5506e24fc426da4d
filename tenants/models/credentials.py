"""API tokens, and failed sign-ins that slow down guessing."""

from django.db import models
from django.db.models.functions import Now

from audit.database.clock import uuid7
from tenants.models.principal import Principal
from tenants.models.tenant import Tenant


class ApiToken(models.Model):
    """A credential of one principal for one tenant: the SHA-256 of its 256-bit secret is stored, `prefix` finds it.

    `scopes` are permission names and can only narrow what the principal may do.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="tokens")
    principal = models.ForeignKey(Principal, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["principal", "tenant"])]

    def __str__(self) -> str:
        return f"{self.name} (ilk_{self.prefix}…)"


class FailedSignIns(models.Model):
    """How often signing in failed lately, per keyed digest of whom and from where. Names and addresses are not kept."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(db_index=True)
    refused_until = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.count} until {self.last_at}"
