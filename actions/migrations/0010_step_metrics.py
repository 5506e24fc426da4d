"""What attempts use and say while they run, how long steps took, and actions that are only simulated."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("actions", "0009_scheduling")]
    operations = [
        migrations.AddField("action", "simulated", models.BooleanField(default=False, db_default=False)),
        migrations.AddField("checkpoint", "metrics", models.JSONField(null=True)),
        migrations.AddField("impact", "step_ms", models.JSONField(null=True)),
        migrations.CreateModel(
            name="Said",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(max_length=200)),
                ("attempt", models.PositiveSmallIntegerField()),
                ("is_undo", models.BooleanField()),
                ("first", models.PositiveIntegerField()),
                ("lines", models.PositiveIntegerField()),
                ("text", models.TextField()),
                ("at", models.DateTimeField()),
                (
                    "action",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="said",
                        to="actions.action",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("action", "step", "attempt", "is_undo", "first"), name="each_line_said_once"
                    )
                ]
            },
        ),
    ]
