import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.models import Q

import audit.ids

KINDS = ["intent", "receipt", "failure", "skip", "undo_intent", "undo_receipt", "undo_failure"]
STATES = [("closed", "Closed"), ("open", "Open"), ("half-open", "Half Open")]


def of(model: str, name: str = "+") -> models.ForeignKey:
    return models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name=name, to=model)


class Migration(migrations.Migration):
    dependencies = [("actions", "0006_resource_claims")]
    operations = [
        migrations.CreateModel(
            name="Breaker",
            fields=[
                (
                    "id",
                    models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("key", models.CharField(max_length=64, unique=True)),
                ("tenant", of("tenants.tenant")),
                ("environment", of("tenants.environment")),
                ("type", models.CharField(max_length=64)),
                ("target", models.CharField(blank=True, max_length=200)),
                ("state", models.CharField(choices=STATES, default="closed", max_length=9)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("openings", models.PositiveIntegerField(default=0)),
                ("code", models.CharField(blank=True, max_length=120)),
                ("failed_at", models.DateTimeField(null=True)),
                ("opened_at", models.DateTimeField(null=True)),
                ("open_until", models.DateTimeField(null=True)),
                (
                    "probe",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="actions.action",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RetryBucket",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("tenant", of("tenants.tenant")),
                ("tokens", models.FloatField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={"indexes": [models.Index(fields=["at"], name="retrybucket_by_age")]},
        ),
        migrations.AddField("action", "breaker_key", models.CharField(blank=True, default="", max_length=64)),
        migrations.AddField("action", "fallback_due", models.BooleanField(default=False)),
        migrations.AddField(
            "action",
            "fallback_of",
            models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="actions.action",
            ),
        ),
        migrations.AddField("action", "recovery", models.JSONField(default=dict)),
        migrations.AddField("action", "wake_at", models.DateTimeField(null=True)),
        migrations.AddField("plan", "recovery", models.JSONField(default=dict)),
        migrations.AlterField(
            "checkpoint",
            "kind",
            models.CharField(choices=[(k, k.replace("_", " ").title()) for k in KINDS], max_length=12),
        ),
        migrations.AddIndex(
            "action",
            models.Index(condition=Q(fallback_of__isnull=False), fields=["fallback_of"], name="action_fell_back"),
        ),
        migrations.AddIndex(
            "action", models.Index(condition=Q(fallback_due=True), fields=["id"], name="action_fallback_due")
        ),
    ]
