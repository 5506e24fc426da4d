"""Turns, caps, an environment's switch, and nodes. What waits keeps the turn that its time and priority gave it."""

import datetime

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models
from django.db.models import F

import audit.ids

LIVE = ("queued", "preflight", "approved", "in_progress", "verifying", "rolling_back", "awaiting_approval", "held")


def take_over(apps, schema_editor):
    actions = apps.get_model("actions", "Action").objects.filter(state__in=LIVE)
    actions.update(turn_at=F("created_at"))
    for priority in actions.exclude(priority=0).values_list("priority", flat=True).distinct().order_by():
        sooner = datetime.timedelta(minutes=5 * priority)
        actions.filter(priority=priority).update(turn_at=F("created_at") - sooner)


class Migration(migrations.Migration):
    dependencies = [
        ("actions", "0008_quarantine"),
        ("tenants", "0003_invariants"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Cap",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "type",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty: of all types together.",
                        max_length=64,
                        verbose_name="action type",
                    ),
                ),
                (
                    "most",
                    models.PositiveSmallIntegerField(
                        help_text="So many of these actions may run at the same time.",
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="at most",
                    ),
                ),
            ],
            options={
                "verbose_name": "concurrency cap",
                "ordering": ["tenant", "environment", "type"],
            },
        ),
        migrations.CreateModel(
            name="EnvironmentHold",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("reason", models.TextField()),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("lifted_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Node",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.RemoveIndex(
            model_name="action",
            name="action_to_claim",
        ),
        migrations.AddField(
            model_name="action",
            name="node",
            field=models.CharField(blank=True, db_default="", default="", max_length=100),
        ),
        migrations.AddField(
            model_name="action",
            name="turn_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
        migrations.AddField(
            model_name="lease",
            name="node",
            field=models.CharField(blank=True, db_default="", default="", max_length=100),
        ),
        migrations.AddField(
            model_name="lease",
            name="serves",
            field=models.JSONField(db_default=[], default=list),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("lease__isnull", True), ("state__in", ("queued", "preflight"))),
                fields=["node", "tenant", "turn_at", "id"],
                name="action_to_decide",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(
                    ("lease__isnull", True), ("state__in", ("approved", "in_progress", "verifying", "rolling_back"))
                ),
                fields=["node", "tenant", "turn_at", "id"],
                name="action_to_execute",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("held_reason", "switch"), ("state", "held")),
                fields=["environment"],
                name="action_switched_off",
            ),
        ),
        migrations.AddField(
            model_name="cap",
            name="environment",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="Empty: in all environments together.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.environment",
            ),
        ),
        migrations.AddField(
            model_name="cap",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="environmenthold",
            name="environment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="holds", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="environmenthold",
            name="lifted_by",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="environmenthold",
            name="set_by",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="environmenthold",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="cap",
            constraint=models.UniqueConstraint(
                condition=models.Q(("environment__isnull", False)),
                fields=("tenant", "environment", "type"),
                name="one_cap_per_place_and_type",
                violation_error_message="There is a cap on this already; change that one.",
            ),
        ),
        migrations.AddConstraint(
            model_name="cap",
            constraint=models.UniqueConstraint(
                condition=models.Q(("environment__isnull", True)),
                fields=("tenant", "type"),
                name="one_cap_per_tenant_and_type",
                violation_error_message="There is a cap on this already; change that one.",
            ),
        ),
        migrations.AddConstraint(
            model_name="cap",
            constraint=models.CheckConstraint(condition=models.Q(("most__gte", 1)), name="cap_lets_one_run"),
        ),
        migrations.AddConstraint(
            model_name="environmenthold",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at__isnull", True)),
                fields=("environment",),
                name="one_hold_at_a_time_per_environment",
            ),
        ),
        migrations.RunPython(take_over, migrations.RunPython.noop),
    ]
