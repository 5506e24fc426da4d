from django.contrib.auth.models import Group
from django.db import models

from audit.database.clock import uuid7
from tenants.models.place import Tenant


class Role(models.Model):
    """A named set of permissions in one tenant, carried by a group. Seats ask for roles by name."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="roles")
    name = models.CharField(max_length=63)
    group = models.OneToOneField(Group, on_delete=models.PROTECT, related_name="role", editable=False)

    class Meta:
        ordering = ["tenant", "name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="role_name_once_per_tenant")]

    def __str__(self) -> str:
        return self.name
