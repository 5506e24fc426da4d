"""Predicted and verified impact."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial"), ("actions", "0003_lean_indexes")]
    operations = [
        migrations.CreateModel(
            name="Impact",
            fields=[
                (
                    "action",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="impact",
                        serialize=False,
                        to="actions.action",
                    ),
                ),
                ("type", models.CharField(max_length=64)),
                ("target", models.CharField(max_length=401)),
                ("state", models.CharField(max_length=17)),
                ("code", models.CharField(max_length=120)),
                ("is_failure", models.BooleanField()),
                ("tier", models.CharField(max_length=8)),
                ("score", models.PositiveSmallIntegerField()),
                ("predicted_changes", models.PositiveIntegerField()),
                ("predicted_deletes", models.PositiveIntegerField()),
                ("predicted_resources", models.PositiveIntegerField()),
                ("steps", models.PositiveIntegerField()),
                ("applied", models.PositiveIntegerField()),
                ("standing", models.PositiveIntegerField()),
                ("verified_changes", models.PositiveIntegerField(null=True)),
                ("checks", models.PositiveIntegerField(null=True)),
                ("checks_failed", models.PositiveIntegerField(null=True)),
                ("duration_ms", models.BigIntegerField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "environment",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.environment",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["environment", "type", "target", "-ended_at"], name="impact_history"),
                    models.Index(fields=["environment", "-ended_at"], name="impact_by_time"),
                ],
            },
        ),
    ]
