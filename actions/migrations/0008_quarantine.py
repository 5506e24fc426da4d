import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import audit.ids


class Migration(migrations.Migration):
    dependencies = [
        ("actions", "0007_recovery"),
        ("tenants", "0003_invariants"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="action",
            name="rollback",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="action",
            name="rollback_to",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="action",
            name="stop_why",
            field=models.CharField(blank=True, max_length=32),
        ),
        migrations.AddField(
            model_name="action",
            name="watch",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="plan",
            name="rollback",
            field=models.JSONField(default=dict),
        ),
        migrations.CreateModel(
            name="Quarantine",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=64)),
                ("kind", models.CharField(max_length=64)),
                ("name", models.TextField()),
                (
                    "because",
                    models.CharField(
                        choices=[
                            ("undo_failed", "its undo failed"),
                            ("in_doubt", "a step in doubt was given up"),
                            ("operator", "a person asked for it"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("cleared_at", models.DateTimeField(null=True)),
                (
                    "action",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="quarantines",
                        to="actions.action",
                    ),
                ),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "cleared_by_action",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="actions.action",
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.environment",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["environment", "-id"], name="quarantine_by_environment"),
                    models.Index(
                        condition=models.Q(("cleared_at__isnull", True)),
                        fields=["environment"],
                        name="quarantine_in_force",
                    ),
                    models.Index(
                        condition=models.Q(("action__isnull", False)), fields=["action"], name="quarantine_by_action"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("cleared_at__isnull", True)),
                        fields=("key",),
                        name="one_quarantine_of_a_resource",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("cleared_at__isnull", True), ("cleared_by_action__isnull", False), _connector="OR"
                        ),
                        name="quarantine_cleared_says_by_what",
                    ),
                ],
            },
        ),
    ]
