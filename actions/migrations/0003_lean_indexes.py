"""Indexes of foreign keys that another index begins with, or that nothing looks for: every move of an action pays for
each of them. Those for retries and undos keep only the few rows that have one."""

from django.conf import settings
from django.db import migrations, models
from django.db.models import CASCADE, PROTECT, SET_NULL, Q


def unindexed(model: str, name: str, to: str, on_delete, related_name: str = "+", null: bool = False):
    field = models.ForeignKey(to, on_delete=on_delete, related_name=related_name, null=null, db_index=False)
    return migrations.AlterField(model, name, field)


class Migration(migrations.Migration):
    dependencies = [("actions", "0002_plan_facts")]
    operations = [
        migrations.AddIndex(
            "action", models.Index(fields=["retry_of"], name="action_retried", condition=Q(retry_of__isnull=False))
        ),
        migrations.AddIndex(
            "action", models.Index(fields=["undo_of"], name="action_undone", condition=Q(undo_of__isnull=False))
        ),
        unindexed("action", "tenant", "tenants.tenant", PROTECT),
        unindexed("action", "environment", "tenants.environment", PROTECT),
        unindexed("action", "requester", settings.AUTH_USER_MODEL, PROTECT),
        unindexed("action", "retry_of", "actions.action", PROTECT, "retries", null=True),
        unindexed("action", "undo_of", "actions.action", PROTECT, "undos", null=True),
        unindexed("action", "lease", "actions.lease", SET_NULL, null=True),
        unindexed("action", "plan", "actions.plan", PROTECT, null=True),
        unindexed("idempotencykey", "tenant", "tenants.tenant", CASCADE),
        unindexed("beforeimage", "action", "actions.action", CASCADE, "before_images"),
        unindexed("checkpoint", "action", "actions.action", CASCADE, "checkpoints"),
        unindexed("checkpoint", "plan", "actions.plan", CASCADE),
        unindexed("plan", "action", "actions.action", CASCADE, "plans"),
    ]
