from django.db import models


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
